//! A source that is examined before it is extracted, for the checks of a target that no process
//! reaches together with it.

use pghaul_stage::{Catalog, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::name;
use crate::spool::{Hashes, Spool, json};

/// What an examination of the source found, and the hash of each object that was written before.
#[derive(PartialEq, Serialize, Deserialize)]
struct Found<F> {
    facts: F,
    objects: Hashes,
}

/// What was found of a source that was examined, and not extracted yet.
#[derive(Debug)]
pub struct Examined {
    /// What is compared with a target, as its finder wrote it; none if the source would not tell.
    pub facts: Value,
    /// The catalog, if it could be read.
    pub catalog: Option<Catalog>,
}

impl Spool {
    /// Writes down what an examination found, which changes nothing of an extraction that comes
    /// later. What an earlier one found is replaced.
    ///
    /// # Errors
    ///
    /// Kind identity if an extraction has begun; kind input for secrets without encryption.
    pub async fn put_examined(&self, examined: &Examined, secrets: bool) -> Result<()> {
        if self.planned().await?.is_some() {
            return Err(self.other_plan());
        }
        // Whoever reads it meanwhile finds none, or knows the objects by their hashes.
        self.store.remove(name::EXAMINED).await?;
        let objects = match &examined.catalog {
            Some(catalog) => self.write(catalog, secrets).await?,
            None => Hashes::new(),
        };
        let facts = &examined.facts;
        self.put_anew(name::EXAMINED, &json(&Found { facts, objects })?)
            .await
    }

    /// What an examination found; `None` until one has.
    ///
    /// # Errors
    ///
    /// Those of the store, and kind identity if it is damaged.
    pub async fn examined(&self) -> Result<Option<Examined>> {
        let Some(found) = self.json::<Found<Value>>(name::EXAMINED).await? else {
            return Ok(None);
        };
        match self.written(&found.objects).await {
            Ok(catalog) => Ok(Some(Examined {
                facts: found.facts,
                catalog,
            })),
            // The source may just be examined once more.
            Err(_) if self.json(name::EXAMINED).await?.as_ref() != Some(&found) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
