//! What operators do with a cluster of real processes: declare what it holds, upgrade it, restart
//! it, and ask what is wrong with it.

#[path = "operator/doctor.rs"]
mod doctor;
#[path = "operator/quipu.rs"]
mod quipu;
#[path = "operator/rolling.rs"]
mod rolling;
#[path = "operator/service_manager.rs"]
mod service_manager;
#[path = "operator/top.rs"]
mod top;
#[path = "operator/topology.rs"]
mod topology;
#[path = "operator/upgrade.rs"]
mod upgrade;
