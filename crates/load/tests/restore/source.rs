//! Source databases, what their catalogs say, and migrations of them.

use std::sync::{Arc, Mutex, OnceLock};

use pghaul_load::{Config, PgTarget};
use pghaul_stage::{
    Catalog, Column, Event, Index, Observer, Omission, Packed, Plan, Result, Sequence,
    SequenceValue, Severity, Step, Table, TableId, Target,
};
use pghaul_wire::{Address, Conninfo, Environment, Host};

use crate::server::{Server, run};

/// What an observer was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Started(Step, String),
    Done(Step, String),
    Warning(String),
    Omission(Omission),
    Info(String),
}

/// Remembers what it is told.
#[derive(Default)]
pub(crate) struct Memory(Mutex<Vec<Told>>);

impl Memory {
    pub(crate) fn all(&self) -> Vec<Told> {
        self.0.lock().unwrap().clone()
    }

    /// What the target lacks.
    pub(crate) fn omissions(&self) -> Vec<Omission> {
        let omission = |told| match told {
            Told::Omission(omission) => Some(omission),
            _ => None,
        };
        self.all().into_iter().filter_map(omission).collect()
    }

    /// Warnings and omissions, these with their remedies.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let warning = |told| match told {
            Told::Warning(message) => Some(message),
            Told::Omission(omission) => Some(format!(
                "{omission} {}",
                omission.remedy.as_deref().unwrap_or_default()
            )),
            _ => None,
        };
        self.all().into_iter().filter_map(warning).collect()
    }
}

impl Observer for Memory {
    fn observe(&self, event: &Event<'_>) {
        let told = match event {
            Event::StepStarted { step, subject, .. } => Told::Started(*step, (*subject).into()),
            Event::StepDone { step, subject, .. } => Told::Done(*step, (*subject).into()),
            Event::Notice {
                severity: Severity::Info,
                message,
            } => Told::Info((*message).into()),
            Event::Notice { message, .. } => Told::Warning((*message).into()),
            Event::Omitted(omission) => Told::Omission((*omission).clone()),
            _ => return,
        };
        self.0.lock().unwrap().push(told);
    }
}

/// A source database.
pub(crate) struct Source {
    pub(crate) server: &'static Server,
    pub(crate) db: String,
    pub(crate) catalog: Catalog,
    pub(crate) sequences: Vec<SequenceValue>,
}

/// One row of a query, whose columns are separated by a character that no name has.
fn rows(server: &Server, db: &str, query: &str) -> Vec<Vec<String>> {
    let mut command = server.client("psql", db);
    command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-F", "\x1f", "-R", "\x1e"]);
    let printed = run(&mut command, &format!("SET search_path = ''; {query}"));
    let printed = printed.trim_end_matches('\n');
    let split = |row: &str| row.split('\x1f').map(str::to_owned).collect();
    printed
        .split('\x1e')
        .filter(|row| !row.is_empty())
        .map(split)
        .collect()
}

impl Source {
    /// A new database in which these commands have been run.
    pub(crate) fn new(sql: &str) -> Source {
        let server = Server::get();
        let db = server.database();
        server.psql(&db, sql);
        Source::of(db)
    }

    /// The database with every kind of object.
    pub(crate) fn rich() -> &'static Source {
        static SOURCE: OnceLock<Source> = OnceLock::new();
        SOURCE.get_or_init(|| {
            let server = Server::get();
            server.psql(
                "postgres",
                r#"CREATE ROLE rich_owner; CREATE ROLE rich_reader; CREATE ROLE "Rich Writer""#,
            );
            Source::new(include_str!("../rich.sql"))
        })
    }

    /// The database that the demo migrates.
    pub(crate) fn shop() -> Source {
        let server = Server::get();
        let db = server.database();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/shop.sql");
        let mut psql = server.client("psql", &db);
        psql.args([
            "-Xq",
            "-o",
            "/dev/null",
            "-v",
            "ON_ERROR_STOP=1",
            "-v",
            "scale=1",
        ]);
        run(psql.args(["-f", script]), "");
        Source::of(db)
    }

    fn of(db: String) -> Source {
        let server = Server::get();
        let mut command = server.client("pg_dump", &db);
        command.args(["-Fc", "-Z0", "--section=pre-data", "--section=post-data"]);
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let mut catalog = Catalog {
            archive: Packed::new(&output.stdout).unwrap(),
            ..Catalog::default()
        };
        catalog.server.version = 150_000;
        catalog.database.name.clone_from(&db);
        catalog.database.owner = "postgres".into();
        catalog.database.encoding = "UTF8".into();
        catalog.database.connection_limit = -1;
        let own = "c.relnamespace IN (SELECT oid FROM pg_namespace
                   WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast'))
                   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                                   AND d.objid = c.oid AND d.deptype = 'e')";
        let query = format!(
            "SELECT n.nspname, c.relname, c.oid, pg_relation_size(c.oid),
                    (SELECT coalesce(string_agg(quote_ident(attname), ',' ORDER BY attnum), '')
                     FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0
                     AND NOT attisdropped AND attgenerated = '')
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE relkind = 'r' AND {own}"
        );
        let mut tables = Vec::new();
        for row in rows(server, &db, &query) {
            let column = |name: &str| Column {
                name: name.into(),
                type_name: "text".into(),
            };
            let table = Table {
                id: TableId::new(&*row[0], &*row[1]),
                oid: row[2].parse().unwrap(),
                filenode: 0,
                columns: row[4]
                    .split(',')
                    .filter(|name| !name.is_empty())
                    .map(column)
                    .collect(),
                generated: Box::default(),
                rows: 0,
                heap: row[3].parse().unwrap(),
                toast: 0,
                child: false,
            };
            tables.push(table);
        }
        catalog.tables = tables.into();
        let indexes = format!(
            "SELECT i.indexrelid, ic.relname, n.nspname, c.relname, pg_get_indexdef(i.indexrelid),
                    k.oid, k.contype, am.amname = 'btree' AND k.contype IN ('p', 'u'),
                    pg_relation_size(i.indexrelid)
             FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am am ON am.oid = ic.relam
             LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = c.oid
                  AND k.contype IN ('p', 'u', 'x')
             WHERE c.relkind = 'r' AND {own}"
        );
        for row in rows(server, &db, &indexes) {
            let index = Index {
                oid: row[0].parse().unwrap(),
                name: row[1].as_str().into(),
                table: TableId::new(&*row[2], &*row[3]),
                definition: row[4].as_str().into(),
                constraint: row[5].parse().ok(),
                constraint_type: row[6].chars().next(),
                separable: row[7] == "t",
                bytes: row[8].parse().unwrap(),
            };
            catalog.indexes.push(index.into());
        }
        // The view hides the value of a sequence that was set and not called.
        let field = |name: &str| {
            format!(
                "(xpath('/row/{name}/text()', query_to_xml(format('TABLE %I.%I', schemaname,
                     sequencename), false, true, '')))[1]::text"
            )
        };
        let sequences = format!(
            "SELECT schemaname, sequencename, {}, {} FROM pg_sequences",
            field("last_value"),
            field("is_called")
        );
        let mut values = Vec::new();
        for row in rows(server, &db, &sequences) {
            let id = TableId::new(&*row[0], &*row[1]);
            catalog.sequences.push(Sequence {
                id: id.clone(),
                oid: 0,
            });
            let (last_value, is_called) = (row[2].parse().unwrap(), row[3] == "true");
            values.push(SequenceValue {
                id,
                last_value,
                is_called,
            });
        }
        Source {
            server,
            db,
            catalog,
            sequences: values,
        }
    }

    /// The same database as it is now.
    pub(crate) fn reread(self) -> Source {
        Source::of(self.db)
    }

    /// The same database, whose catalog says that every table is large.
    pub(crate) fn large(&self) -> Source {
        let mut catalog = self.catalog.clone();
        catalog.tables.change(|table| table.heap += 10 << 20);
        Source {
            db: self.db.clone(),
            catalog,
            sequences: self.sequences.clone(),
            ..*self
        }
    }

    /// The same database, whose catalog says that no table is.
    pub(crate) fn small(&self) -> Source {
        let mut source = self.large();
        source.catalog.tables.change(|table| table.heap = 0);
        source
    }

    /// Every table.
    pub(crate) fn tables(&self) -> Vec<TableId> {
        self.catalog
            .tables
            .iter()
            .map(|table| table.id.clone())
            .collect()
    }

    /// A plan without parts: the tests copy rows by psql.
    pub(crate) fn plan() -> Plan {
        Plan {
            start: "0/1".parse().unwrap(),
            visible: "5:5:".into(),
            parts: Vec::new(),
        }
    }

    /// Copies the rows of a table.
    pub(crate) fn copy(&self, to: &str, table: &Table) {
        if table.columns.is_empty() {
            return;
        }
        let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let name = format!("{}.{}", quote(&table.id.schema), quote(&table.id.name));
        let columns: Vec<&str> = table.columns.iter().map(|column| &*column.name).collect();
        let columns = columns.join(",");
        let out = format!("COPY {name} ({columns}) TO STDOUT");
        let bytes = self.server.copy(&self.db, &out);
        let mut psql = self.server.client("psql", to);
        psql.args(["-Xq", "-v", "ON_ERROR_STOP=1"]);
        psql.args(["-c", &format!("COPY {name} ({columns}) FROM STDIN")]);
        run(&mut psql, std::str::from_utf8(&bytes).unwrap());
    }

    /// Copies the rows of every table, and makes all sequences wrong.
    pub(crate) fn copy_all(&self, to: &str) {
        let mut dump = self.server.client("pg_dump", &self.db);
        let rows = run(dump.args(["--section=data", "-B"]), "");
        let mut psql = self.server.client("psql", to);
        run(
            psql.args(["-Xq", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1"]),
            &rows,
        );
        let reset = "SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, max_value)
                     FROM pg_sequences";
        self.server.psql(to, reset);
    }

    /// What pg_restore makes of it, rows included.
    pub(crate) fn oracle(&self) -> String {
        let db = self.server.database();
        let dump = self
            .server
            .client("pg_dump", &self.db)
            .arg("-Fc")
            .output()
            .unwrap()
            .stdout;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), dump).unwrap();
        run(
            self.server
                .client("pg_restore", &db)
                .arg("-e")
                .arg(file.path()),
            "",
        );
        db
    }

    /// A whole migration of it.
    pub(crate) async fn migrate(&self, to: &str, config: Config) -> Result<Arc<Memory>> {
        let (target, memory) = self.target(to, config);
        target.prepare(&self.catalog, &Source::plan()).await?;
        self.copy_all(to);
        for table in self.tables() {
            target.tables_loaded(&[table]).await?;
        }
        target.complete(&self.sequences).await?;
        Ok(memory)
    }

    /// A target for a new migration of it.
    pub(crate) fn target(&self, to: &str, config: Config) -> (PgTarget, Arc<Memory>) {
        let memory = Arc::new(Memory::default());
        let observer = Arc::clone(&memory) as Arc<dyn Observer>;
        (
            PgTarget::fresh(self.server.conninfo(to), config, observer).unwrap(),
            memory,
        )
    }

    /// A target that is written by this role.
    pub(crate) fn target_as(&self, to: &str, role: &str) -> (PgTarget, Arc<Memory>) {
        let memory = Arc::new(Memory::default());
        let observer = Arc::clone(&memory) as Arc<dyn Observer>;
        let conninfo = self.server.conninfo(to);
        let [
            Host {
                address: Address::Unix(folder),
                port,
            },
        ] = conninfo.hosts()
        else {
            panic!("the server listens on one socket");
        };
        let text = format!(
            "host='{}' port={port} user={role} dbname={to}",
            folder.display()
        );
        let conninfo = Conninfo::parse_with(&text, &Environment::default()).unwrap();
        (
            PgTarget::fresh(conninfo, Config::default(), observer).unwrap(),
            memory,
        )
    }

    /// Everything that pg_dump says of a database, without what pghaul keeps there.
    pub(crate) fn dump(&self, db: &str) -> String {
        let mut command = self.server.client("pg_dump", db);
        command.args(["-B", "--exclude-schema=pghaul"]);
        let printed = run(&mut command, "");
        // Newer versions protect psql by a key that differs each time.
        let lines = printed.lines().filter(|line| !line.contains("restrict "));
        lines.map(|line| format!("{line}\n")).collect()
    }
}

/// Fails with the first lines that differ.
pub(crate) fn assert_same(ours: &str, theirs: &str) {
    if ours == theirs {
        return;
    }
    let (mut ours, mut theirs) = (ours.lines(), theirs.lines());
    loop {
        let (left, right) = (ours.next(), theirs.next());
        if left != right {
            let next = |lines: std::str::Lines<'_>| {
                lines
                    .take(8)
                    .map(|line| format!("{line}\n"))
                    .collect::<String>()
            };
            panic!(
                "ours: {left:?}\n{}\ntheirs: {right:?}\n{}",
                next(ours),
                next(theirs)
            );
        }
    }
}
