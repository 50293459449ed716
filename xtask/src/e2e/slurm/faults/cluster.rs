//! What happens to the cluster: its controller, its memory of jobs, its disk.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, ensure};

use super::{
    super::{
        scene::{Part, Scene, Terms},
        site::Site,
    },
    Extent, LONG, expect_untouched, scene,
};
use crate::{
    e2e::world::{pause, wait_for},
    shell,
};

/// How long the controller says nothing.
const PAUSE: Duration = Duration::from_secs(30);

/// The controller stops while the server's job is submitted, and goes on later.
pub(super) fn controller_paused(site: &Site, _: Extent) -> anyhow::Result<String> {
    let scene = scene("controller-paused", site, Terms::default())?;
    site.signal("slurmctld", "STOP")?;
    let run = scene.run()?;
    pause(PAUSE);
    site.signal("slurmctld", "CONT")?;
    let ended = run.end(LONG)?;
    ended.expect(0)?;
    expect_untouched(&scene)?;
    scene.close()?;
    Ok(format!(
        "{} s, one job of each, exit 0, all levels",
        PAUSE.as_secs()
    ))
}

/// Nobody watches while the load generator's job ends, and Slurm has forgotten it when somebody looks.
pub(super) fn forgotten(site: &Site, _: Extent) -> anyhow::Result<String> {
    let scene = scene("forgotten", site, Terms::default())?;
    let mut run = scene.run()?;
    scene.wait_for_levels(&mut run, 1)?;
    let job = scene.wait_for_job(&mut run, Part::Load)?;
    run.kill()?;
    let what = "Slurm forgets a job that has ended";
    wait_for(what, Duration::from_mins(4), || {
        let known = shell::capture(site.command("scontrol").args(["show", "job", &job.id]));
        known.is_ok_and(|known| !known.status.success()).then_some(())
    })?;
    let ended = scene.resume()?.end(Duration::from_mins(1))?;
    ended.expect(0)?;
    scene.expect_all_measured()?;
    scene.expect_nothing_left()?;
    scene.close()?;
    Ok("resumed without measuring anything again, exit 0, all levels".to_owned())
}

/// A file system of this size on a directory, for as long as the value lives.
struct Mounted(PathBuf);

impl Mounted {
    fn new(directory: PathBuf) -> anyhow::Result<Self> {
        let mounted = shell::read(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"])
                .arg(&directory),
        );
        mounted.context("a small file system cannot be mounted: this fault is for root")?;
        Ok(Self(directory))
    }

    /// Takes all the space, also what becomes free, until the value that it gives is dropped.
    fn fill(&self) -> anyhow::Result<Filler> {
        let path = self.0.join("full");
        let mut file = File::create(&path)?;
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let writer = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                // Whatever does not fit is tried again.
                while file.write_all(&[0; 4096]).is_ok() {}
                pause(Duration::from_millis(10));
            }
        });
        Ok(Filler {
            path,
            over,
            writer: Some(writer),
        })
    }
}

/// Who takes all the space.
struct Filler {
    path: PathBuf,
    over: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // It writes zeros and nothing else.
        let _ = self.writer.take().map(JoinHandle::join);
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Whatever still works there ends with its job.
        let _ = shell::capture(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

/// The disk fills up while levels are measured; once there is space, `resume` goes on.
pub(super) fn disk_full(site: &Site, _: Extent) -> anyhow::Result<String> {
    let scene = scene("disk-full", site, Terms::default())?;
    let mounted = Mounted::new(scene.scratch())?;
    let said = fill_and_resume(&scene, &mounted)?;
    scene.expect_all_measured()?;
    scene.expect_nothing_left()?;
    drop(mounted);
    scene.close()?;
    Ok(format!(
        "exit 11, then with space again exit 0 and all levels: {said}"
    ))
}

fn fill_and_resume(scene: &Scene<'_>, mounted: &Mounted) -> anyhow::Result<String> {
    let mut run = scene.run()?;
    scene.wait_for_levels(&mut run, 1)?;
    let full = mounted.fill()?;
    let ended = run.end(LONG)?;
    ended.expect(11)?;
    let said = ended.expect_said("its directory takes no file")?;
    ended.expect_said("No space left on device")?;
    ended.expect_said("on the cluster")?;
    scene.expect_nothing_left()?;
    let kept = scene.measured()?;
    ensure!(kept >= 1, "the level that was published is not kept");
    drop(full);
    scene.resume()?.end(LONG)?.expect(0)?;
    Ok(said)
}
