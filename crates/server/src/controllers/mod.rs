//! What a server does without being asked: it imports what streams want. Of all servers on one store one does it.
//!
//! A controller is an `async fn run(shared, ...)` in a file of its own and a line in [`controllers`]. It runs while this
//! server leads: it begins with nothing in memory, reads from the store what there is to do, and its future is dropped
//! when another server may take over, which it may not before all [that it began](Shared::acting) has ended. One that fails or panics is started again, after a pause that grows.

mod heard;
mod import_controller;
mod importer;
mod labels;
pub(crate) mod lease;
mod metrics;
mod notified;
mod rules;
pub(crate) mod scheduled;
mod still_wanted;
mod supervisor;
mod workers;

use std::sync::Arc;

use imagestream_apiserver::pki;
use tokio_util::task::TaskTracker;

use crate::context::Context;
use crate::settings::{ControllerSettings, Storage};

pub(crate) use importer::Importer;
pub(crate) use metrics::{ImportMetrics, leads};
pub(crate) use supervisor::{Controller, Controllers, Election, supervise};

/// What all controllers share.
pub(crate) struct Shared {
    /// The objects and the import engine of the server.
    pub(crate) context: Arc<Context>,
    /// What the administrator decided.
    pub(crate) settings: ControllerSettings,
    /// Imports as the controllers' user, counted.
    pub(crate) importer: Importer,
    /// What is followed on a schedule, and how that goes.
    pub(crate) board: Arc<scheduled::Board>,
    /// Repositories whose rules are to be followed soon.
    pub(crate) rule_pokes: rules::Pokes,
    /// The tasks that controllers begin and that may write something.
    pub(crate) acting: TaskTracker,
}

impl Shared {
    /// For the controllers of one server, whose user gets its role by this.
    ///
    /// # Errors
    /// Never for the role that is built in: why it can't be read.
    pub(crate) fn new(
        context: &Arc<Context>,
        settings: &ControllerSettings,
        metrics: ImportMetrics,
        board: &Arc<scheduled::Board>,
    ) -> Result<Arc<Self>, String> {
        importer::grant(&context.authorizer)?;
        Ok(Arc::new(Self {
            context: Arc::clone(context),
            settings: settings.clone(),
            importer: Importer::new(context, metrics, settings.scheduled.enabled),
            board: Arc::clone(board),
            rule_pokes: rules::Pokes::default(),
            acting: TaskTracker::new(),
        }))
    }
}

/// All controllers of a server.
pub(crate) fn controllers(shared: &Arc<Shared>) -> Controllers {
    let all = vec![
        Controller::new("image-import", shared, import_controller::run),
        Controller::new("scheduled-import", shared, scheduled::run),
        Controller::new("follow-rules", shared, rules::run),
        Controller::new("notifications", shared, notified::run),
    ];
    Controllers {
        all,
        acting: shared.acting.clone(),
    }
}

/// How servers on this storage find out which of them acts.
pub(crate) fn election(context: &Context, storage: &Storage) -> Election {
    match storage {
        // The lock of the data directory lets no other server in.
        Storage::Sqlite => Election::Alone,
        Storage::Etcd { .. } => {
            let host = pki::hostname().unwrap_or_else(|| "imagestream".into());
            let store = Arc::clone(&context.store);
            Election::Lease(lease::Lease::new(
                store,
                lease::CONTROLLERS,
                &host,
                lease::Timing::default(),
            ))
        }
    }
}
