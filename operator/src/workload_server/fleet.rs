//! What every proxy has told: what it has in force, and which key signed its certificate.

mod forget;
mod page;
mod report;
mod said;
mod store;

pub use forget::forget;
pub use page::{Shown, page};
pub use report::{Fleet, Moment, Place, Report};
pub(crate) use said::said;
pub use store::{FleetStore, Seen};

#[cfg(test)]
mod tests;
