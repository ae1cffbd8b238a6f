//! What the client that a spool uses sees.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};
use pghaul_server::spool::Side;
use uuid::Uuid;

use crate::rig::{FOREIGN, SOURCE, Server, TARGET};

async fn create(
    objects: &Arc<dyn ObjectStore>,
    name: &str,
    content: impl Into<Bytes>,
) -> object_store::Result<()> {
    let (path, payload) = (Path::from(name), PutPayload::from(content.into()));
    let put = objects.put_opts(&path, payload, PutOptions::from(PutMode::Create));
    put.await.map(drop)
}

async fn names(objects: &Arc<dyn ObjectStore>, prefix: Option<&str>) -> BTreeSet<String> {
    let prefix = prefix.map(Path::from);
    let listed: Vec<_> = objects
        .list(prefix.as_ref())
        .try_collect()
        .await
        .expect("a list");
    let names: BTreeSet<String> = listed
        .iter()
        .map(|meta| meta.location.to_string())
        .collect();
    assert_eq!(names.len(), listed.len(), "a name was listed twice");
    names
}

/// Whether a status is the cause, which the client tells in words.
fn is(error: &Error, status: &str) -> bool {
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        said.push_str(&error.to_string());
        cause = error.source();
    }
    said.contains(status)
}

fn entry(part: u32) -> String {
    format!("manifest/{part:010}/000000")
}

fn rows(part: u32) -> String {
    format!("parts/{part:010}/{}-000000.parquet", Uuid::now_v7())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_created_once_and_read_as_it_is() {
    let server = Server::start(None).await;
    let source = server.objects(SOURCE, Some(1));
    let content: Bytes = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    create(&source, &entry(7), content.clone()).await.unwrap();
    let again = create(&source, &entry(7), "other").await.unwrap_err();
    assert!(matches!(again, Error::AlreadyExists { .. }), "{again}");

    let path = Path::from(entry(7));
    for token in [SOURCE, TARGET] {
        let objects = server.objects(token, None);
        let read = objects.get(&path).await.unwrap();
        assert_eq!(read.meta.size, content.len() as u64);
        assert_eq!(read.bytes().await.unwrap(), content);
        let meta = objects.head(&path).await.unwrap();
        assert_eq!(meta.size, content.len() as u64);
        assert!(meta.e_tag.is_some());
    }
    let absent = source.get(&Path::from(entry(8))).await.unwrap_err();
    assert!(matches!(absent, Error::NotFound { .. }), "{absent}");
    let absent = source.head(&Path::from(entry(8))).await.unwrap_err();
    assert!(matches!(absent, Error::NotFound { .. }), "{absent}");
    // It is where the documentation says, and nothing else is there.
    let file = server.folder.path().join(server.migration.to_string());
    assert_eq!(
        std::fs::read(file.join("d").join(entry(7))).unwrap(),
        content
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_those_of_the_content() {
    let server = Server::start(None).await;
    let source = server.objects(SOURCE, Some(1));
    let content: Bytes = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    create(&source, &entry(7), content.clone()).await.unwrap();
    let path = Path::from(entry(7));
    let get = async |range: GetRange| {
        let options = GetOptions {
            range: Some(range),
            ..GetOptions::default()
        };
        source.get_opts(&path, options).await?.bytes().await
    };
    let size = content.len() as u64;
    assert_eq!(get(GetRange::Bounded(0..1)).await.unwrap(), content[..1]);
    assert_eq!(
        get(GetRange::Bounded(1000..700_001)).await.unwrap(),
        content[1000..700_001]
    );
    assert_eq!(
        get(GetRange::Bounded(size - 3..size + 9)).await.unwrap(),
        content[content.len() - 3..]
    );
    assert_eq!(
        get(GetRange::Offset(799_990)).await.unwrap(),
        content[799_990..]
    );
    assert_eq!(
        get(GetRange::Suffix(5)).await.unwrap(),
        content[content.len() - 5..]
    );
    let several = source
        .get_ranges(&path, &[3..5, 600_000..600_010])
        .await
        .unwrap();
    assert_eq!(
        several,
        [content.slice(3..5), content.slice(600_000..600_010)]
    );
    let beyond = get(GetRange::Bounded(size..size + 1)).await.unwrap_err();
    assert!(is(&beyond, "416"), "{beyond}");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_larger_than_what_is_held_arrive_whole() {
    let server = Server::start(None).await;
    let source = server.objects(SOURCE, Some(1));
    let content: Bytes = (0..11_000_000u32).flat_map(u32::to_le_bytes).collect();
    create(&source, "schema", content.clone()).await.unwrap();
    let again = create(&source, "schema", content.clone())
        .await
        .unwrap_err();
    assert!(matches!(again, Error::AlreadyExists { .. }), "{again}");
    let read = source.get(&Path::from("schema")).await.unwrap();
    assert_eq!(read.bytes().await.unwrap(), content);
    let aside = server.folder.path().join("incoming");
    assert_eq!(
        std::fs::read_dir(aside).unwrap().count(),
        0,
        "something is left aside"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_go_on_page_by_page() {
    let server = Server::start(None).await;
    let source = server.objects(SOURCE, Some(1));
    // As many as need a second page, laid down where the server finds them.
    let folder = server
        .folder
        .path()
        .join(server.migration.to_string())
        .join("d/loaded");
    std::fs::create_dir_all(&folder).unwrap();
    let expected: BTreeSet<String> = (0..10_050)
        .map(|part| format!("loaded/{part:010}"))
        .collect();
    for name in &expected {
        std::fs::write(folder.join(name.strip_prefix("loaded/").unwrap()), "x").unwrap();
    }
    create(&source, &entry(3), "e").await.unwrap();
    assert_eq!(names(&source, Some("loaded")).await, expected);
    assert_eq!(names(&source, Some("manifest")).await, [entry(3)].into());
    assert_eq!(
        names(&source, Some("load")).await,
        BTreeSet::new(),
        "no step of a name"
    );
    assert_eq!(names(&source, None).await.len(), 10_051);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_side_writes_and_removes_what_is_its_own() {
    let server = Server::start(None).await;
    let (source, target) = (
        server.objects(SOURCE, Some(1)),
        server.objects(TARGET, Some(1)),
    );
    let worker = Uuid::now_v7();
    let (by_source, by_target) = (
        [
            "spool".to_owned(),
            "catalog".to_owned(),
            "plan".to_owned(),
            "end".to_owned(),
            rows(1),
            entry(1),
            "claims/extract/0000000001/000000".to_owned(),
            format!("workers/extract/{worker}"),
            format!("snapshots/{worker}"),
        ],
        [
            "loaded/0000000001".to_owned(),
            "claims/load/0000000001/000000".to_owned(),
            format!("workers/load/{worker}"),
        ],
    );
    for (names, writer, other) in [
        (&by_source[..], &source, &target),
        (&by_target, &target, &source),
    ] {
        for name in names {
            let refused = create(other, name, "x").await.unwrap_err();
            assert!(
                matches!(refused, Error::PermissionDenied { .. }),
                "{name}: {refused}"
            );
            create(writer, name, "x").await.expect(name);
        }
    }
    // Nothing is replaced but signs of life.
    for (name, replaced) in [
        (&by_source[7], true),
        (&by_source[2], false),
        (&by_source[4], false),
    ] {
        let put = source.put(&Path::from(name.as_str()), "y".into()).await;
        assert_eq!(put.is_ok(), replaced, "{name}");
    }
    let removes = async |objects: &Arc<dyn ObjectStore>, name: &str| {
        let removed = objects.delete(&Path::from(name)).await;
        if let Err(error) = &removed {
            assert!(
                matches!(error, Error::PermissionDenied { .. }),
                "{name}: {error}"
            );
        }
        removed.is_ok()
    };
    for (name, of_source, of_target) in [
        ("spool", false, false),
        ("plan", false, false),
        (&entry(1), false, false),
        ("loaded/0000000001", false, false),
        (&by_target[2], false, true),
        (&by_source[7], true, false),
        ("catalog", true, false),
        (&by_source[4], true, true),
    ] {
        assert_eq!(removes(&target, name).await, of_target, "{name}");
        assert_eq!(removes(&source, name).await, of_source, "{name}");
    }
    let left = names(&source, Some("parts")).await;
    assert_eq!(left, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_no_spool_has_are_refused() {
    let server = Server::start(None).await;
    let migration = format!("relay+http://{}/m-1", server.address);
    let objects = server.objects_at(&migration, SOURCE, Some(1));
    for name in [
        "spool",
        "d/x",
        "d/parts/x",
        "d/d/spool",
        "d/manifest/0000000001/000000/x",
        "d.e/spool",
    ] {
        let refused = create(&objects, name, "x").await.unwrap_err();
        assert!(is(&refused, "InvalidObjectName"), "{name}: {refused}");
    }
    create(&objects, "d/spool", "x").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_right_is_refused() {
    let server = Server::start(None).await;
    let source = server.objects(SOURCE, Some(1));
    create(&source, "spool", "x").await.unwrap();
    let path = Path::from("spool");
    let unknown = server
        .objects("token-of-nobody", Some(1))
        .get(&path)
        .await
        .unwrap_err();
    assert!(
        matches!(unknown, Error::Unauthenticated { .. }),
        "{unknown}"
    );
    let foreign = server
        .objects(FOREIGN, Some(1))
        .get(&path)
        .await
        .unwrap_err();
    assert!(
        matches!(foreign, Error::PermissionDenied { .. }),
        "{foreign}"
    );
    // Without a seat one looks, and does nothing.
    let look = server.objects(SOURCE, None);
    look.get(&path).await.unwrap();
    let refused = create(&look, "plan", "x").await.unwrap_err();
    assert!(
        matches!(refused, Error::PermissionDenied { .. }),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_an_older_epoch_writes_nothing() {
    let server = Server::start(None).await;
    let source = server.objects(SOURCE, Some(1));
    create(&source, "spool", "x").await.unwrap();
    create(&source, &rows(1), "x").await.unwrap();
    let file = names(&source, Some("parts")).await.pop_first().unwrap();
    server.fence(Side::Source).await;
    for refused in [
        create(&source, "plan", "x").await.unwrap_err(),
        source.delete(&Path::from(file.as_str())).await.unwrap_err(),
        source
            .put(
                &Path::from(format!("workers/extract/{}", Uuid::now_v7())),
                "y".into(),
            )
            .await
            .unwrap_err(),
    ] {
        assert!(
            is(&refused, "gave the work of this agent to another"),
            "{refused}"
        );
    }
    // The one who took over goes on, and the other side never noticed.
    create(&server.objects(SOURCE, Some(2)), "plan", "x")
        .await
        .unwrap();
    create(&server.objects(TARGET, Some(1)), "loaded/0000000001", "x")
        .await
        .unwrap();
    assert_eq!(names(&source, Some("parts")).await, [file].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_has_so_much_room_and_no_more() {
    let server = Server::start(Some(1000)).await;
    let source = server.objects(SOURCE, Some(1));
    create(&source, "catalog", vec![0; 400]).await.unwrap();
    create(&source, &rows(1), vec![0; 500]).await.unwrap();
    // What is refused, whyever, takes none.
    create(&source, "catalog", vec![0; 90]).await.unwrap_err();
    let full = create(&source, &rows(2), vec![0; 101]).await.unwrap_err();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&full);
    let mut kinds = std::iter::from_fn(|| {
        let error = cause?;
        cause = error.source();
        Some(
            error
                .downcast_ref::<std::io::Error>()
                .map(std::io::Error::kind),
        )
    });
    assert!(
        kinds.any(|kind| kind == Some(std::io::ErrorKind::QuotaExceeded)),
        "{full:?}"
    );
    create(&source, &rows(2), vec![0; 100]).await.unwrap();
    assert_eq!(server.spools.used(server.migration).await.unwrap(), 1000);
    // What the other side removes makes room.
    let target = server.objects(TARGET, Some(1));
    for name in names(&target, Some("parts")).await {
        target.delete(&Path::from(name)).await.unwrap();
    }
    assert_eq!(server.spools.used(server.migration).await.unwrap(), 400);
    create(&source, &rows(3), vec![0; 600]).await.unwrap();
    server.spools.erase(server.migration).await.unwrap();
    assert_eq!(names(&source, None).await, BTreeSet::new());
    create(&source, &rows(3), vec![0; 1000]).await.unwrap();
}
