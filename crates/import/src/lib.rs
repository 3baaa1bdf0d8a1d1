//! The import engine: plan, fetch, build, settle, apply.
