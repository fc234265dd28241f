mod clients;
mod full;
mod model;
mod page;
pub(crate) mod random;
mod sequences;
mod transcript;
mod wishes;
