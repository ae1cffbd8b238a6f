//! What an archive entry is, and the statements it stands for.
