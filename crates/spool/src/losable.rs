//! The objects that a spool need not have: what was found of the source, its checksums, and the end.
//! Once the extraction is complete, a list says which of them there are, so that one that is lost is
//! missed.

use bytes::Bytes;
use pghaul_stage::{Error, Kind, Result, SequenceValue, Side};

use crate::name;
use crate::spool::Spool;

/// The objects that need not be there, so that nothing else shows that one was lost.
const LOSABLE: [&str; 3] = [name::FACTS, name::DIGEST, name::END];

impl Spool {
    /// What was recorded of the source for a comparison, if anything was.
    ///
    /// # Errors
    ///
    /// Those of the store, and kind identity if it is damaged or was lost.
    pub async fn digest(&self) -> Result<Option<Bytes>> {
        self.unless_lost(name::DIGEST).await
    }

    /// Records something of the source for a comparison; an earlier record stays.
    pub async fn put_digest(&self, digest: &[u8]) -> Result<()> {
        self.put(name::DIGEST, digest).await?;
        Ok(())
    }

    /// What was found of the source before the extraction, if it was examined.
    ///
    /// # Errors
    ///
    /// Those of the store, and kind identity if it is damaged or was lost.
    pub async fn facts(&self) -> Result<Option<Bytes>> {
        self.unless_lost(name::FACTS).await
    }

    /// Records what was found of the source; an earlier record stays.
    pub async fn put_facts(&self, facts: &[u8]) -> Result<()> {
        self.put(name::FACTS, facts).await?;
        Ok(())
    }

    /// The values of the sequences; `None` until the extraction is complete.
    pub async fn end(&self) -> Result<Option<Vec<SequenceValue>>> {
        self.json(name::END).await
    }

    /// Says that the extraction is complete, and then which objects there are without which it would
    /// look as if they had never been.
    pub(crate) async fn put_end(&self, sequences: &[SequenceValue]) -> Result<()> {
        self.put_json(name::END, sequences).await?;
        let mut there = Vec::new();
        for name in LOSABLE {
            if self.get(name).await?.is_some() {
                there.push(name);
            }
        }
        self.put_json(name::COMPLETE, &there).await?;
        Ok(())
    }

    /// The objects that were there when the extraction was complete, and are not any more, though
    /// nothing else refers to them.
    ///
    /// # Errors
    ///
    /// Those of the store, and kind identity if the list of them is damaged.
    pub(crate) async fn lost(&self) -> Result<Vec<&'static str>> {
        let there: Option<Vec<String>> = self.json(name::COMPLETE).await?;
        let mut lost = Vec::new();
        for name in there.iter().flatten() {
            let known = LOSABLE.into_iter().find(|known| known == name);
            if let Some(known) = known
                && self.store.read(known).await?.is_none()
            {
                lost.push(known);
            }
        }
        Ok(lost)
    }

    /// An object that need not be there; one that was lost is an error.
    async fn unless_lost(&self, name: &str) -> Result<Option<Bytes>> {
        let content = self.get(name).await?;
        if content.is_none() && self.lost().await?.contains(&name) {
            return Err(self.was_lost(name));
        }
        Ok(content)
    }

    /// The error of one of the objects that [`Spool::lost`] finds.
    pub(crate) fn was_lost(&self, name: &str) -> Error {
        let lost = Error::new(Kind::Identity, "it is missing")
            .at(Side::Link)
            .on(self.store.subject(name));
        lost.remedy(match name {
            name::END => {
                "while the source can be reached, `pghaul extract --resume` writes it again"
            }
            name::FACTS => {
                "load with --skip-validation: it has what the checks before a load ask of the source"
            }
            _ => {
                "the rows can be loaded; compare with `pghaul verify` where both servers can be \
                 reached"
            }
        })
    }
}
