use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use gipfel_model::{
    LevelState, Published,
    published::{MAX_PIECE_BYTES, PUBLISHED_FILE},
};
use gipfel_results_db::{DbError, Publisher, ResultsDb, RunKey, published};

use proptest::prelude::*;

use crate::common::{Files, config, level, request};

/// A database that is published, and where.
struct Here {
    files: Files,
    db: ResultsDb,
    run: RunKey,
    publisher: Publisher,
}

async fn begin() -> Here {
    let files = Files::new();
    fs::create_dir(files.path("there")).expect("a directory");
    let db = ResultsDb::create(files.path("run.db")).await.expect("a database");
    db.leave_log_to_publisher().await.expect("the log is left alone");
    let run = db.upsert_run(&config("run-a")).await.expect("a run");
    let publisher = publisher(&files).await;
    Here {
        files,
        db,
        run,
        publisher,
    }
}

async fn publisher(files: &Files) -> Publisher {
    Publisher::open(&files.path("run.db"), &files.path("packed"), &files.path("there"))
        .await
        .expect("a publisher")
}

impl Here {
    async fn rows(&self, numbers: std::ops::Range<i64>) {
        let rows: Vec<_> = numbers.map(|number| request(0, number)).collect();
        for rows in rows.chunks(5_000) {
            self.db.append(self.run, rows, &[]).await.expect("rows");
        }
    }

    fn there(&self) -> PathBuf {
        self.files.path("there")
    }

    fn names(&self) -> Vec<String> {
        names(&self.there())
    }

    /// The requests of what is published, after a look for damage.
    async fn published_rows(&self) -> usize {
        let to = self.files.path("home.db");
        let manifest = published::find(&self.there())
            .expect("readable")
            .expect("a manifest");
        assert!(manifest.pieces.iter().all(|piece| piece.bytes <= MAX_PIECE_BYTES));
        published::unpack_from(&self.there(), &manifest, &to).expect("whole");
        let home = ResultsDb::open_read_only(&to).await.expect("a database");
        home.integrity_check().await.expect("no damage");
        let run = home.runs().await.expect("runs").remove(0);
        home.requests(run.key, 0).await.expect("requests").len()
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_committed_is_published_while_the_writer_goes_on() {
    let mut here = begin().await;
    here.rows(0..100).await;
    let first = here.publisher.publish(false).await.expect("published");
    assert_eq!(here.published_rows().await, 100);
    assert_eq!(first.sent_bytes, first.bytes);
    let again = here.publisher.publish(false).await.expect("nothing new");
    assert_eq!((again.bytes, again.sent_bytes), (first.bytes, 0));
    // Not committed when the publication begins is not published, and the writer does not wait for it.
    here.rows(100..250).await;
    here.db
        .put_level(here.run, &level(0, 5.0))
        .await
        .expect("a level");
    assert_eq!(here.published_rows().await, 100);
    here.publisher.publish(false).await.expect("published");
    assert_eq!(here.published_rows().await, 250);
    here.db.close().await.expect("closed");
    let last = here.publisher.publish(true).await.expect("published");
    assert_eq!(last.sent_bytes, 0, "only the manifest has changed");
    let manifest = published::find(&here.files.path("there"))
        .expect("readable")
        .expect("a manifest");
    assert!(manifest.complete);
    here.publisher.close().await.expect("closed");
    assert!(!here.files.path("packed").exists());
}

#[tokio::test]
async fn full_chunks_are_sent_once() {
    let mut here = begin().await;
    here.rows(0..150_000).await;
    let first = here.publisher.publish(false).await.expect("published");
    assert!(first.pieces >= 3, "{first:?}");
    let before = here.names();
    here.rows(150_000..151_000).await;
    let second = here.publisher.publish(false).await.expect("published");
    assert!(second.sent_bytes * 3 < second.bytes * 2, "{first:?} {second:?}");
    let after = here.names();
    assert!(
        before.iter().all(|name| after.contains(name)),
        "the last one may be being fetched"
    );
    here.rows(151_000..152_000).await;
    here.publisher.publish(false).await.expect("published");
    let then = here.names();
    assert!(before.iter().any(|name| !then.contains(name)), "{then:?}");
    assert_eq!(here.published_rows().await, 152_000);

    // The next process sends nothing that is there.
    drop(here.publisher);
    here.publisher = publisher(&here.files).await;
    let unchanged = here.publisher.publish(false).await.expect("published");
    assert_eq!(unchanged.sent_bytes, 0);
    // By any program that knows gzip.
    let manifest = published::find(&here.there())
        .expect("readable")
        .expect("a manifest");
    let unpacked = by_gzip(&here.there(), &manifest);
    assert!(unpacked.starts_with(b"SQLite format 3\0"));
    assert_eq!(
        unpacked,
        fs::read(here.files.path("home.db")).expect("a database")
    );
}

fn by_gzip(directory: &Path, manifest: &Published) -> Vec<u8> {
    let mut packed = Vec::new();
    for piece in &manifest.pieces {
        packed.extend(fs::read(directory.join(&piece.name)).expect("a piece"));
    }
    let mut gzip = Command::new("gzip")
        .args(["-d", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gzip");
    let mut input = gzip.stdin.take().expect("its input");
    let writing = std::thread::spawn(move || input.write_all(&packed));
    let output = gzip.wait_with_output().expect("its output");
    writing.join().expect("a thread").expect("gzip reads all");
    assert!(output.status.success());
    output.stdout
}

#[tokio::test]
async fn a_failed_publication_leaves_the_one_before() {
    let mut here = begin().await;
    here.rows(0..10).await;
    here.publisher.publish(false).await.expect("published");
    // A directory in the place of the file that would be renamed stands for a disk that is full.
    let obstacle = here.there().join("published.json.new");
    fs::create_dir(&obstacle).expect("a directory");
    for count in [20, 30, 40] {
        here.rows(count - 10..count).await;
        let error = here.publisher.publish(false).await.expect_err("in the way");
        assert!(matches!(error, DbError::File { .. }), "{error}");
        assert_eq!(here.published_rows().await, 10);
    }
    assert!(here.names().len() < 8, "{:?}", here.names());
    fs::remove_dir(&obstacle).expect("removed");
    here.publisher.publish(false).await.expect("published");
    assert_eq!(here.published_rows().await, 40);
    // What a killed process has left goes.
    for name in ["published-0.gz", "published-1.gz.new"] {
        fs::write(here.there().join(name), "half").expect("written");
    }
    fs::write(here.there().join("server.log"), "kept").expect("written");
    here.publisher = publisher(&here.files).await;
    here.rows(40..50).await;
    here.publisher.publish(false).await.expect("published");
    let names = here.names();
    assert!(names.contains(&"server.log".to_owned()), "{names:?}");
    assert!(
        !names
            .iter()
            .any(|name| name.contains("-0.gz") || name.contains(".new")),
        "{names:?}"
    );
}

#[tokio::test]
async fn a_reader_keeps_the_last_publication_back_and_no_other() {
    let mut here = begin().await;
    here.rows(0..10).await;
    let mut reader = reader(&here.files.path("run.db")).await;
    here.rows(10..20).await;
    here.publisher.publish(false).await.expect("what can be had");
    let error = here.publisher.publish(true).await.expect_err("not everything");
    assert!(matches!(error, DbError::InUse { .. }), "{error}");
    crate::common::execute(&mut reader, "COMMIT").await;
    here.publisher.publish(true).await.expect("everything");
    assert_eq!(here.published_rows().await, 20);
}

/// Somebody who reads the database as it is now.
async fn reader(path: &Path) -> sqlx::SqliteConnection {
    use sqlx::ConnectOptions;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = options.connect().await.expect("a connection");
    crate::common::execute(&mut connection, "BEGIN; SELECT count(*) FROM request").await;
    connection
}

#[tokio::test]
async fn what_is_damaged_is_no_database() {
    let mut here = begin().await;
    here.rows(0..3_000).await;
    here.publisher.publish(true).await.expect("published");
    let manifest = published::find(&here.there())
        .expect("readable")
        .expect("a manifest");
    let pieces: Vec<Vec<u8>> = manifest
        .pieces
        .iter()
        .map(|piece| fs::read(here.there().join(&piece.name)).expect("a piece"))
        .collect();
    assert!(pieces.len() >= 2);
    let to = here.files.path("home.db");
    let check = |bytes: &[u8], manifest: &Published, expected: &str| {
        let error = published::unpack(manifest, bytes, &to).expect_err("refused");
        assert!(error.to_string().starts_with(expected), "{error}");
        assert!(!to.exists());
    };
    let whole = pieces.concat();
    let second = &manifest.pieces[1].name;
    for at in [0, 7, pieces[0].len(), pieces[0].len() + 1_000, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        let name = if at < pieces[0].len() {
            &manifest.pieces[0].name
        } else {
            second
        };
        check(
            &bytes,
            &manifest,
            &format!("the published piece `{name}` is damaged: its SHA-256 is "),
        );
    }
    check(
        &[],
        &manifest,
        &format!("the published piece `{}` is too short", manifest.pieces[0].name),
    );
    check(
        &whole[..whole.len() - 1],
        &manifest,
        &format!("the published piece `{second}` is too short"),
    );
    check(
        &pieces[0],
        &manifest,
        &format!("the published piece `{second}` is too short"),
    );
    let mut longer = whole.clone();
    longer.push(0);
    check(&longer, &manifest, "there is more than the published pieces");
    let mut other = manifest.clone();
    other.sha256 = "00".repeat(32);
    check(
        &whole,
        &other,
        "the published pieces are not those of one database: ",
    );
    // Whole pieces, but not all of them: the packing's own end is no end.
    let mut fewer = manifest.clone();
    fewer.pieces.truncate(1);
    check(
        &pieces[0],
        &fewer,
        "the published pieces are not those of one database: ",
    );
    let none = Published::new("00".repeat(32), Vec::new(), false);
    check(&[], &none, "the published pieces hold no database");

    // An old database and its log make room.
    fs::write(&to, "old").expect("written");
    fs::write(here.files.path("home.db-wal"), "old").expect("written");
    published::unpack(&manifest, &whole[..], &to).expect("whole");
    let home = ResultsDb::open_read_only(&to).await.expect("a database");
    home.integrity_check().await.expect("no damage");

    fs::write(here.there().join(PUBLISHED_FILE), "{").expect("written");
    let error = published::find(&here.there()).expect_err("half a manifest");
    assert!(
        error.to_string().ends_with("published.json` cannot be used"),
        "{error}"
    );
}

/// The bytes of a small publication, and their manifest.
fn small_publication() -> (Published, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut here = begin().await;
        here.rows(0..300).await;
        here.publisher.publish(true).await.expect("published");
        let manifest = published::find(&here.there())
            .expect("readable")
            .expect("a manifest");
        let pieces = manifest.pieces.iter();
        let bytes = pieces
            .flat_map(|piece| fs::read(here.there().join(&piece.name)).expect("a piece"))
            .collect();
        (manifest, bytes)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever happens to the pieces on their way, nothing but the database itself comes out.
    #[test]
    fn nothing_but_the_whole_is_taken(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..8)) {
        let (manifest, whole) = small_publication();
        let files = Files::new();
        let to = files.path("home.db");
        for (at, byte, kind) in changes {
            let mut bytes = whole.clone();
            let at = at.index(bytes.len());
            match kind {
                0 => bytes.truncate(at),
                1 => bytes[at] = byte,
                2 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
            let taken = published::unpack(&manifest, &bytes[..], &to);
            prop_assert_eq!(taken.is_ok(), bytes == whole);
            prop_assert_eq!(to.exists(), bytes == whole);
            let _ = fs::remove_file(&to);
        }
    }
}

#[tokio::test]
async fn a_run_goes_on_from_what_was_published() {
    let mut here = begin().await;
    here.rows(0..10).await;
    here.db
        .put_level(here.run, &level(0, 5.0))
        .await
        .expect("a level");
    here.publisher.publish(false).await.expect("published");
    let manifest = published::find(&here.there())
        .expect("readable")
        .expect("a manifest");
    let there = here.there();
    let next = here.files.path("next.db");
    published::unpack_from(&there, &manifest, &next).expect("whole");
    let db = ResultsDb::open(&next).await.expect("a database");
    db.leave_log_to_publisher().await.expect("the log is left alone");
    let mut publisher = Publisher::open(&next, &here.files.path("next"), &there)
        .await
        .expect("a publisher");
    let rows: Vec<_> = (10..30).map(|number| request(0, number)).collect();
    db.append(here.run, &rows, &[]).await.expect("rows");
    publisher.publish(false).await.expect("published");
    assert_eq!(here.published_rows().await, 30);
    let home = ResultsDb::open_read_only(here.files.path("home.db"))
        .await
        .expect("a database");
    let levels = home.levels(here.run).await.expect("levels");
    assert_eq!(levels[0].state, LevelState::Complete);
}
