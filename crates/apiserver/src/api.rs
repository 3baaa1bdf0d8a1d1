//! All resources that a server has, found by group, version and name.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use crate::decode::GroupVersionKind;
use crate::endpoint::Endpoint;
use crate::openapi::Documents;
use crate::paths::PathEndpoint;

/// The endpoints of each version of each group.
pub type Groups<'a> = BTreeMap<&'static str, BTreeMap<&'static str, Vec<&'a Arc<dyn Endpoint>>>>;

/// The resources of a server.
#[derive(Default)]
pub struct Api {
    endpoints: Vec<Arc<dyn Endpoint>>,
    paths: Vec<Arc<dyn PathEndpoint>>,
    index: HashMap<String, usize>,
    /// Made when somebody asks for one.
    documents: OnceLock<Documents>,
}

impl Api {
    /// A server with these resources and subresources.
    #[must_use]
    pub fn new(endpoints: Vec<Arc<dyn Endpoint>>) -> Self {
        let index = endpoints
            .iter()
            .enumerate()
            .map(|(position, endpoint)| {
                let resource = endpoint.resource();
                let of = path(
                    resource.kind.group,
                    resource.kind.version,
                    resource.plural,
                    resource.subresource,
                );
                (of, position)
            })
            .collect();
        Self {
            endpoints,
            paths: Vec::new(),
            index,
            documents: OnceLock::new(),
        }
    }

    /// The same with paths that are no resources.
    #[must_use]
    pub fn with_paths(mut self, paths: Vec<Arc<dyn PathEndpoint>>) -> Self {
        self.paths = paths;
        self
    }

    /// The endpoint of a path that is no resource.
    #[must_use]
    pub fn find_path(&self, path: &str) -> Option<&Arc<dyn PathEndpoint>> {
        self.paths.iter().find(|endpoint| {
            path.strip_prefix(endpoint.path())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// The endpoint of a resource; of a subresource if one is named.
    #[must_use]
    pub fn find(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        subresource: &str,
    ) -> Option<&Arc<dyn Endpoint>> {
        let position = self.index.get(&path(group, version, plural, subresource))?;
        self.endpoints.get(*position)
    }

    /// The descriptions of them all.
    pub(crate) fn documents(&self) -> &Documents {
        self.documents.get_or_init(|| Documents::new(self))
    }

    /// All of them, in the order in which they were given.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<dyn Endpoint>> {
        self.endpoints.iter()
    }

    /// The endpoints of each group and version. The core group is the empty one.
    #[must_use]
    pub fn groups(&self) -> Groups<'_> {
        let mut groups = Groups::new();
        for endpoint in &self.endpoints {
            let kind = endpoint.resource().kind;
            let versions = groups.entry(kind.group).or_default();
            versions.entry(kind.version).or_default().push(endpoint);
        }
        groups
    }

    /// Whether some resource has objects of this kind.
    #[must_use]
    pub fn has_kind(&self, wanted: &GroupVersionKind) -> bool {
        self.endpoints.iter().any(|endpoint| {
            let kind = endpoint.resource().kind;
            kind.group == wanted.group && kind.version == wanted.version && kind.kind == wanted.kind
        })
    }
}

fn path(group: &str, version: &str, plural: &str, subresource: &str) -> String {
    format!("{group}/{version}/{plural}/{subresource}")
}
