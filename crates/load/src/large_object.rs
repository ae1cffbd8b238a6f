//! Large objects: from their pages to objects with owner, privileges and comment.
