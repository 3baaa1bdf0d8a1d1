//! The endpoint of a stored resource: every verb, the same for all of them; a [`Strategy`] says what is particular.

use std::sync::Arc;

use crate::endpoint::Endpoint;
use crate::kind::{Resource, Verb};
use crate::storage::Objects;
use crate::strategy::Strategy;

/// A stored resource.
pub struct Stored {
    objects: Arc<Objects>,
    strategy: Arc<dyn Strategy>,
}

impl Stored {
    /// The endpoint of `objects`, which were opened with the same strategy.
    #[must_use]
    pub fn new(objects: Arc<Objects>, strategy: Arc<dyn Strategy>) -> Self {
        Self { objects, strategy }
    }
}

impl Endpoint for Stored {
    fn resource(&self) -> &'static Resource {
        self.objects.resource()
    }

    fn verbs(&self) -> &'static [Verb] {
        self.strategy.verbs()
    }
}
