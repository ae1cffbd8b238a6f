//! A small migration to test with: tables that stand on the target already, and a plan.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pghaul_load::{Config, PgTarget};
use pghaul_stage::{
    Batch, Catalog, Column, Encoding, Event, Format, Mark, Observer, Packed, Part, PartId, Payload,
    Plan, Range, Result, Slice, Table, TableId, Target, Work, Writer,
};

use crate::server::Server;

/// Remembers what it is told.
#[derive(Default)]
pub(crate) struct Notices(Mutex<Vec<String>>);

impl Notices {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for Notices {
    fn observe(&self, event: &Event<'_>) {
        let told = match event {
            Event::Notice { message, .. } => (*message).to_owned(),
            Event::Omitted(omission) => omission.to_string(),
            _ => return,
        };
        self.0.lock().unwrap().push(told);
    }
}

/// A target database with the plan of a migration into it.
pub(crate) struct Migration {
    pub(crate) server: &'static Server,
    pub(crate) db: String,
    pub(crate) catalog: Catalog,
    pub(crate) plan: Plan,
    pub(crate) notices: Arc<Notices>,
    pub(crate) config: Config,
}

/// A table of the plan: its name, columns, and bytes of heap and TOAST.
pub(crate) fn table(name: &str, columns: &[&str], heap: u64, toast: u64) -> Table {
    Table {
        id: TableId::new("public", name),
        columns: columns
            .iter()
            .map(|name| Column {
                name: (*name).into(),
                type_name: "text".into(),
            })
            .collect(),
        generated: Box::default(),
        oid: 0,
        filenode: 0,
        rows: 0,
        heap,
        toast,
        child: false,
    }
}

/// All rows of a table.
pub(crate) fn whole(name: &str, encoding: Encoding) -> Slice {
    Slice {
        table: TableId::new("public", name),
        range: Range::All,
        encoding,
        shape: pghaul_stage::Shape::Whole,
    }
}

/// Bytes of a slice.
pub(crate) fn batch(slice: u32, bytes: &[u8], rows: u64, mark: u64) -> Batch {
    Batch {
        slice,
        payload: Payload::Copy(bytes.to_vec().into()),
        rows,
        mark: Mark(mark),
    }
}

impl Migration {
    /// A new target database in which `ddl` has been run, and one part for each list of slices.
    pub(crate) fn new(ddl: &str, tables: Vec<Table>, parts: Vec<Work>) -> Migration {
        let server = Server::get();
        let db = server.database();
        // The archive of an empty database: the tables are there already.
        let archive = Packed::new(&server.archive(&db)).unwrap();
        server.psql(&db, ddl);
        let parts = parts
            .into_iter()
            .zip(1..)
            .map(|(work, id)| Part {
                id: PartId(id),
                work,
                rows: 0,
                bytes: 0,
            })
            .collect();
        let mut catalog = Catalog {
            archive,
            tables: tables.into_iter().collect(),
            ..Catalog::default()
        };
        catalog.server.version = 150_000;
        catalog.database.name = "source".into();
        catalog.database.owner = "postgres".into();
        catalog.database.encoding = "UTF8".into();
        catalog.database.connection_limit = -1;
        Migration {
            server,
            db,
            catalog,
            plan: Plan {
                start: "0/1".parse().unwrap(),
                visible: "5:5:".into(),
                parts,
            },
            notices: Arc::default(),
            config: Config {
                lock_timeout: Duration::from_millis(300),
                ..Config::default()
            },
        }
    }

    /// One table `t (id int, note text)` in one part, as text.
    pub(crate) fn one() -> Migration {
        Migration::new(
            "CREATE TABLE t (id int, note text)",
            vec![table("t", &["id", "note"], 0, 0)],
            vec![Work::Rows([whole("t", Encoding::Text)].into())],
        )
    }

    /// A prepared target for it.
    pub(crate) async fn prepared(&self) -> PgTarget {
        let target = self.fresh();
        target.prepare(&self.catalog, &self.plan).await.unwrap();
        target
    }

    pub(crate) fn fresh(&self) -> PgTarget {
        let observer = Arc::clone(&self.notices) as Arc<dyn Observer>;
        PgTarget::fresh(
            self.server.conninfo(&self.db),
            self.config.clone(),
            observer,
        )
        .unwrap()
    }

    pub(crate) fn psql(&self, sql: &str) -> String {
        self.server.psql(&self.db, sql)
    }

    pub(crate) async fn open(&self, target: &PgTarget, part: usize) -> Result<Box<dyn Writer>> {
        target.open(&self.plan.parts[part], Format::Copy).await
    }

    /// Writes a part whose slices have these bytes and rows.
    pub(crate) async fn write(
        &self,
        target: &PgTarget,
        part: usize,
        slices: &[(&[u8], u64)],
    ) -> Result<Mark> {
        let mut writer = self.open(target, part).await?;
        let mut mark = 0;
        for ((bytes, rows), slice) in slices.iter().zip(0..) {
            mark += bytes.len() as u64;
            writer.write(batch(slice, bytes, *rows, mark)).await?;
        }
        writer.finish().await
    }

    /// Waits until the query prints this.
    pub(crate) async fn until(&self, sql: &str, expected: &str) {
        for _ in 0..200 {
            if self.psql(sql) == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert_eq!(self.psql(sql), expected, "{sql}");
    }
}
