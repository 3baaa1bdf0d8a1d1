//! Opens everything a server needs and runs it until it is told to stop.
pub struct Server;
pub enum StartError {}
pub fn start() {}
