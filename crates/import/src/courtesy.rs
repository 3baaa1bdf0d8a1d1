//! What registries said to one who does not wait when they want to be left alone.

use std::sync::{Mutex, MutexGuard, PoisonError};

use imagestream_registry::{Error, FetchedManifest, HostFeedback, Probed};

/// Takes note of what is asked, and of what is said.
#[derive(Debug, Default)]
pub(crate) struct Courtesy {
    said: Mutex<Said>,
}

/// What was said.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Said {
    /// Requests.
    pub(crate) requests: u32,
    /// How many of them were for a manifest.
    pub(crate) gets: u32,
    /// The last word of how often may be asked; of a registry that wants to be left alone if there was one.
    pub(crate) feedback: HostFeedback,
}

impl Courtesy {
    /// What came of a request.
    pub(crate) fn noted<T>(&self, probed: Probed<T>) -> Result<T, Error> {
        let mut said = self.lock();
        said.requests += 1;
        if !said.feedback.is_refusal {
            said.feedback = probed.feedback;
        }
        probed.found
    }

    /// What came of a request for a manifest.
    pub(crate) fn noted_manifest(&self, probed: Probed<FetchedManifest>) -> Result<FetchedManifest, Error> {
        self.lock().gets += 1;
        self.noted(probed)
    }

    /// What was said so far.
    pub(crate) fn said(&self) -> Said {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        // Numbers are never half-changed.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
