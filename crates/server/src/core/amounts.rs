//! Amounts of resources, by name: what limits and quotas are made of.

use imagestream_api::field::{FieldError, Path};
use imagestream_api::quantity::Quantity;
use imagestream_api::validation::qualified_name;
use serde_json::Value;

/// Where the amounts of a limit are.
pub(super) const AMOUNTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

/// Resources that need no domain.
pub(super) const STANDARD_RESOURCES: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

/// Writes all amounts of a map in the one way that is used from then on.
///
/// # Errors
/// Why one is no amount.
pub(super) fn normalise(amounts: &mut Value) -> Result<(), String> {
    for amount in amounts
        .as_object_mut()
        .into_iter()
        .flat_map(|amounts| amounts.values_mut())
    {
        let text = match *amount {
            Value::String(ref text) => text.clone(),
            Value::Null => "0".to_owned(),
            ref other => other.to_string(),
        };
        let quantity = Quantity::parse(&text).map_err(|error| error.to_string())?;
        *amount = quantity.to_string().into();
    }
    Ok(())
}

/// What is wrong with a name that may have a domain.
pub(super) fn qualified_errors(name: &str, path: &Path) -> Vec<FieldError> {
    qualified_name(name)
        .into_iter()
        .map(|reason| FieldError::invalid(path, name, reason))
        .collect()
}

/// What is wrong with the name of a resource: it is one of the `standard` ones, or it has a domain.
pub(super) fn resource_errors(
    name: &str,
    standard: &[&str],
    otherwise: &str,
    path: &Path,
) -> Vec<FieldError> {
    let mut errors = qualified_errors(name, path);
    if errors.is_empty() && !name.contains('/') && !standard.contains(&name) {
        errors.push(FieldError::invalid(path, name, otherwise));
    }
    errors
}
