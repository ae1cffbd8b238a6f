//! What joins stages and keeps a migration going: link, runner, progress.
