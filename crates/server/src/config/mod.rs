//! `config.openshift.io` and `operator.openshift.io`.
