//! What the source database is and holds, read in a few set-based queries.

mod constraints;
pub(crate) mod database;
mod extensions;
mod indexes;
mod languages;
pub(crate) mod large_objects;
pub(crate) mod left_out;
pub(crate) mod materialized_views;
mod object_identifiers;
mod parameters;
mod roles;
pub(crate) mod row_security;
mod security_labels;
pub(crate) mod sequences;
mod subscriptions;
mod supplements;
pub(crate) mod tables;
mod tablespaces;
pub(crate) mod types;

use std::sync::Arc;

use pghaul_stage::{Catalog, Omission, Result, Selection, Server, TableId};
use pghaul_wire::{Chosen, Client};

use crate::portable::Types;
use crate::probe::Probe;

pub(crate) use large_objects::LargeObjects;
pub(crate) use tables::Facts;

/// The catalog without the schema archive, and what planning needs besides.
#[derive(Debug)]
pub(crate) struct Inventory {
    /// What goes to the target.
    pub(crate) catalog: Catalog,
    /// More about each table, in the order of the catalog's tables.
    pub(crate) facts: Box<[Arc<Facts>]>,
    /// Every type that a column uses, directly or within another type.
    pub(crate) types: Types,
    /// About large objects.
    pub(crate) large_objects: LargeObjects,
    /// Tables whose rows have identifiers that are not copied.
    pub(crate) with_oids: Vec<TableId>,
    /// Subscriptions, invalid indexes and some labels, which the archive will not have, and
    /// extensions' tables that cannot be read.
    pub(crate) hidden: Vec<Omission>,
    /// Bytes of a block.
    pub(crate) block_size: u64,
}

impl Inventory {
    /// Reads everything in a session that sees the snapshot.
    ///
    /// # Errors
    ///
    /// What the server said, and if row-level security would hide rows.
    pub(crate) async fn read(
        client: &Client,
        server: &Probe,
        selection: &Selection,
        chosen: &Chosen,
    ) -> Result<Inventory> {
        row_security::check(client, chosen).await?;
        let (tables, facts) = tables::read(client, server.version, chosen).await?;
        let types = types::read(client, server.version, chosen).await?;
        let large_objects = large_objects::read(client, chosen).await?;
        let with_oids = object_identifiers::read(client, server.version, chosen).await?;
        let mut hidden = if chosen.is_of_everything() && selection.has_schema() {
            subscriptions::hidden(client).await?
        } else {
            Vec::new()
        };
        hidden.append(&mut extensions::uncarried(client, chosen).await?);
        hidden.append(&mut indexes::unusable(client, chosen).await?);
        hidden.append(&mut security_labels::uncarried(client, selection, chosen).await?);
        let (roles, role_settings) = roles::read(client, selection).await?;
        let catalog = Catalog {
            server: Server {
                system: server.system.unwrap_or(0),
                version: server.version,
            },
            database: database::read(client, server).await?,
            child_constraints: constraints::of_children(client, server.version, chosen).await?,
            supplements: if selection.has_schema() {
                supplements::read(client, server.version, selection, chosen).await?
            } else {
                Vec::new()
            },
            indexes: indexes::read(client, chosen, &tables).await?,
            sequences: sequences::read(client, chosen).await?,
            large_objects: large_objects.count,
            large_object_rights: large_objects::rights(client, chosen).await?,
            limited: !roles::is_superuser(client).await?,
            roles,
            memberships: roles::memberships(client, server.version).await?,
            role_settings,
            parameter_grants: parameters::read(client, server.version).await?,
            extensions: extensions::read(client).await?,
            languages: languages::read(client).await?,
            tablespaces: tablespaces::read(client).await?,
            populated: materialized_views::populated(client, chosen).await?,
            left_out: if selection.has_schema() {
                left_out::read(client, server.version, chosen).await?
            } else {
                Vec::new()
            },
            homes: left_out::homes(client, chosen).await?,
            needed: left_out::needed(client, chosen).await?,
            selection: selection.clone(),
            types: types::of_columns(client, chosen).await?,
            tables,
            ..Catalog::default()
        };
        Ok(Self {
            block_size: tables::block_size(client).await?,
            catalog,
            facts,
            types,
            large_objects,
            with_oids,
            hidden,
        })
    }

    /// The table of this name, with its facts.
    pub(crate) fn table(&self, id: &TableId) -> Option<(&pghaul_stage::Table, &Facts)> {
        let index = self.catalog.tables.place(id)?;
        let table = self.catalog.tables.get(index)?;
        Some((table, &**self.facts.get(index)?))
    }
}
