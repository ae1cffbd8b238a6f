//! The runtime server: takes migrations through an API, queues them, runs each in a process of
//! its own, and tells how they go.
