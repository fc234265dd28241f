//! The journal from outside: what it promises, on a real disk and on one that fails by seed.

mod basics;
mod claims;
mod damage;
mod model;
mod rig;
mod seeds;
mod threads;
