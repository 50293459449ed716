//! Runs the jobs of the simulator's own scheduler as processes of this machine.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, OpenOptions},
    io,
    os::unix::{fs::OpenOptionsExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    process::{Child, Command},
    sync::{Notify, mpsc},
    time::timeout,
};

use crate::{
    clock::now_ms,
    jobs::{
        directives::Refusal,
        hostlist,
        job::{Exit, Job, JobId, JobState, Step},
        record::{self, JobRecord, MetadataRecord},
        scheduler::{CancelRefusal, Effect, Scheduler},
        submission::{self, Submission},
    },
    options::SystemOptions,
    paths,
};

/// How often the scheduler looks at the time when nothing else happens.
const TICK: Duration = Duration::from_millis(50);

/// A cluster whose jobs are processes.
pub(crate) struct Processes {
    scheduler: Mutex<Scheduler>,
    systems: BTreeMap<String, Arc<SystemOptions>>,
    spool: PathBuf,
    /// Says how to end what runs: `true` at once.
    running: Mutex<HashMap<(JobId, u32), mpsc::UnboundedSender<bool>>>,
    wake: Notify,
}

impl Processes {
    pub(crate) fn new(
        scheduler: Scheduler,
        systems: BTreeMap<String, Arc<SystemOptions>>,
        spool: PathBuf,
    ) -> io::Result<Self> {
        let commands = spool.join("commands");
        fs::create_dir_all(&commands)?;
        for (name, text) in [
            ("srun", include_str!("srun.sh")),
            ("scontrol", include_str!("scontrol.sh")),
        ] {
            write_program(&commands.join(name), text)?;
        }
        Ok(Self {
            scheduler: Mutex::new(scheduler),
            systems,
            spool,
            running: Mutex::default(),
            wake: Notify::new(),
        })
    }

    pub(crate) fn scheduler(&self) -> MutexGuard<'_, Scheduler> {
        self.scheduler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out what the scheduler wants, for as long as the simulator runs.
    pub(crate) async fn drive(self: Arc<Self>) {
        loop {
            let effects = self.scheduler().step(now_ms());
            for effect in effects {
                self.carry_out(effect);
            }
            // A tick that passes is no fault: it is the time that the scheduler waits for.
            let _ = timeout(TICK, self.wake.notified()).await;
        }
    }

    fn carry_out(self: &Arc<Self>, effect: Effect) {
        match effect {
            Effect::Start { job, generation } => {
                let (sender, receiver) = mpsc::unbounded_channel();
                self.running().insert((job, generation), sender);
                tokio::spawn(Arc::clone(self).run(job, generation, receiver));
            }
            Effect::End {
                job,
                generation,
                at_once,
            } => {
                if let Some(sender) = self.running().get(&(job, generation)) {
                    // A process that has just gone by itself needs no order.
                    let _ = sender.send(at_once);
                }
            }
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<(JobId, u32), mpsc::UnboundedSender<bool>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>, id: JobId, generation: u32, mut orders: mpsc::UnboundedReceiver<bool>) {
        let job = self.scheduler().jobs.get(&id).cloned();
        let exit = match job.map(|job| self.start(&job)) {
            Some(Ok(child)) => self.attend(child, &mut orders).await,
            // What Slurm reports of a job whose folder or files it could not open.
            Some(Err(_)) | None => Exit::NO_DIRECTORY,
        };
        let steps = read_steps(&self.steps(id, generation));
        self.running().remove(&(id, generation));
        let mut scheduler = self.scheduler();
        scheduler.set_steps(id, generation, steps);
        scheduler.exited(id, generation, exit, now_ms());
        drop(scheduler);
        self.wake.notify_one();
    }

    /// Waits for the script's end, and for whatever it left behind.
    async fn attend(&self, mut child: Child, orders: &mut mpsc::UnboundedReceiver<bool>) -> Exit {
        let kill_wait = self.scheduler().cluster.kill_wait;
        let group = Group::of(&child);
        let mut ordered = None;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                order = orders.recv(), if ordered != Some(true) => {
                    let at_once = order.unwrap_or(true);
                    ordered = Some(at_once);
                    group.signal(if at_once { Signal::KILL } else { Signal::TERM });
                }
                () = tokio::time::sleep(kill_wait), if ordered == Some(false) => {
                    ordered = Some(true);
                    group.signal(Signal::KILL);
                }
            }
        };
        drop(group);
        status.map_or(Exit { code: 1, signal: 0 }, exit_of)
    }

    fn start(&self, job: &Job) -> io::Result<Child> {
        let folder = self.folder(job.id, job.generation);
        fs::create_dir_all(folder.join("steps"))?;
        let script = folder.join("script");
        fs::write(&script, self.script_text(job))?;
        let (program, argument) = interpreter(&job.request.script);
        let mut command = Command::new(program);
        command.args(argument).arg(&script);
        command.current_dir(self.real(job, &job.request.working_directory)?);
        self.set_environment(&mut command, job);
        let output = self.real(job, &job.expand(&job.request.standard_output, true))?;
        let error = self.real(job, &job.expand(&job.request.standard_error, true))?;
        let output_file = create(&output)?;
        let error_file = if error == output {
            output_file.try_clone()?
        } else {
            create(&error)?
        };
        let input = self.real(job, &job.expand(&job.request.standard_input, true))?;
        command.stdin(Stdio::from(File::open(input)?));
        command
            .stdout(Stdio::from(output_file))
            .stderr(Stdio::from(error_file));
        command.process_group(0).kill_on_drop(true).spawn()
    }

    fn set_environment(&self, command: &mut Command, job: &Job) {
        let request = &job.request;
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned());
        let home = self
            .real(job, &format!("/users/{}", request.user))
            .ok()
            .filter(|home| home.is_dir());
        let home = home.or_else(|| self.real(job, &request.working_directory).ok());
        command.env_clear();
        command.env("PATH", format!("{}:{path}", self.commands().display()));
        command.env("HOME", home.unwrap_or_default());
        command.env("LANG", "C.UTF-8").env("SHELL", "/bin/bash");
        command.env("USER", &request.user).env("LOGNAME", &request.user);
        for (name, value) in &request.environment {
            command.env(name, self.to_real_text(job, value));
        }
        let nodes = hostlist::compress(&job.nodes);
        let number = job.id.to_string();
        let count = job.nodes.len().to_string();
        let cluster = self.scheduler().cluster.name.clone();
        let directory = self.to_real_text(job, &request.working_directory);
        let values = [
            ("JOB_ID", number.as_str()),
            ("JOBID", &number),
            ("JOB_NAME", &request.name),
            ("JOB_USER", &request.user),
            ("JOB_UID", &request.uid.to_string()),
            ("JOB_ACCOUNT", &request.account),
            ("JOB_PARTITION", &request.partition),
            ("JOB_NODELIST", &nodes),
            ("NODELIST", &nodes),
            ("JOB_NUM_NODES", &count),
            ("NNODES", &count),
            ("NTASKS", &request.tasks.to_string()),
            ("NPROCS", &request.tasks.to_string()),
            ("PROCID", "0"),
            ("LOCALID", "0"),
            ("NODEID", "0"),
            ("RESTART_COUNT", &(job.generation / 2).to_string()),
            ("SUBMIT_DIR", &directory),
            ("CLUSTER_NAME", &cluster),
        ];
        for (name, value) in values {
            command.env(format!("SLURM_{name}"), value);
        }
        if let Some((array, index)) = job.task {
            command.env("SLURM_ARRAY_JOB_ID", array.to_string());
            command.env("SLURM_ARRAY_TASK_ID", index.to_string());
            command.env("SLURM_ARRAY_TASK_COUNT", request.array.len().to_string());
        }
        command.env("SLURMD_NODENAME", job.nodes.first().map_or("", String::as_str));
        command.env("FIRECREST_SIM_STEPS", self.steps(job.id, job.generation));
        command.env("FIRECREST_SIM_HOSTS", job.nodes.join(" "));
    }

    /// The script as it runs here.
    fn script_text(&self, job: &Job) -> String {
        let text = self.to_real_text(job, &job.request.script);
        let (program, _) = interpreter(&job.request.script);
        if !program.ends_with("sh") {
            return text;
        }
        // A login shell sets its own search path, so the stand-ins for Slurm's commands come back in its first line.
        let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
        format!("PATH=\"{}:$PATH\"\n{rest}", self.commands().display())
    }

    fn to_real_text(&self, job: &Job, text: &str) -> String {
        match self.systems.get(&job.request.system) {
            Some(system) if job.request.paths_are_shown => paths::translate(system, text),
            _ => text.to_owned(),
        }
    }

    fn real(&self, job: &Job, shown: &str) -> io::Result<PathBuf> {
        let system = self.systems.get(&job.request.system);
        if let Some(place) = system.and_then(|system| paths::place(system, shown)) {
            return Ok(place.real);
        }
        if shown == "/dev/null" {
            Ok(PathBuf::from(shown))
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn commands(&self) -> PathBuf {
        self.spool.join("commands")
    }

    fn folder(&self, id: JobId, generation: u32) -> PathBuf {
        self.spool.join("jobs").join(format!("{id}.{generation}"))
    }

    fn steps(&self, id: JobId, generation: u32) -> PathBuf {
        self.folder(id, generation).join("steps")
    }
}

/// What callers do with jobs.
impl Processes {
    pub(crate) fn submit(&self, submission: &Submission) -> Result<JobId, Refusal> {
        let mut scheduler = self.scheduler();
        let request = submission::admit(&scheduler.cluster, submission)?;
        let id = scheduler.submit(request, now_ms());
        drop(scheduler);
        self.wake.notify_one();
        id
    }

    /// The jobs that `wanted` picks, with their steps as they are now.
    pub(crate) fn records(&self, wanted: impl Fn(&Job) -> bool) -> Vec<JobRecord> {
        let mut scheduler = self.scheduler();
        let running: Vec<(JobId, u32)> = scheduler
            .jobs
            .values()
            .filter(|job| job.state == JobState::Running && wanted(job))
            .map(|job| (job.id, job.generation))
            .collect();
        for (id, generation) in running {
            scheduler.set_steps(id, generation, read_steps(&self.steps(id, generation)));
        }
        let now = now_ms();
        let jobs = scheduler.jobs.values().filter(|job| wanted(job));
        jobs.map(|job| record::record(&scheduler, job, now)).collect()
    }

    /// A job's metadata, from the accounting where the scheduler does not answer.
    pub(crate) fn metadata(&self, id: JobId, uid: u32, scheduler_answers: bool) -> Option<MetadataRecord> {
        let scheduler = self.scheduler();
        let job = scheduler.jobs.get(&id)?;
        let is_remembered = scheduler_answers && record::is_remembered(&scheduler, job, now_ms());
        Some(record::metadata(job, uid, is_remembered))
    }

    pub(crate) fn cancel(self: &Arc<Self>, id: JobId, uid: u32) -> Result<(), CancelRefusal> {
        let effects = self.scheduler().cancel(id, uid, now_ms())?;
        for effect in effects {
            self.carry_out(effect);
        }
        self.wake.notify_one();
        Ok(())
    }

    /// The order of a test: changes the scheduler and carries out what follows.
    pub(crate) fn command<T>(self: &Arc<Self>, order: impl FnOnce(&mut Scheduler) -> (T, Vec<Effect>)) -> T {
        let (result, effects) = order(&mut self.scheduler());
        for effect in effects {
            self.carry_out(effect);
        }
        self.wake.notify_one();
        result
    }

    /// Runs a command beside a running job; without one there is nothing to attach to.
    pub(crate) fn attach(&self, id: JobId, uid: u32, text: &str) -> Option<io::Result<Child>> {
        let job = self.scheduler().jobs.get(&id).cloned();
        let job = job.filter(|job| job.state == JobState::Running && job.request.uid == uid)?;
        let mut command = Command::new("/bin/bash");
        command.arg("-c").arg(self.to_real_text(&job, text));
        self.set_environment(&mut command, &job);
        Some(
            self.real(&job, &job.request.working_directory)
                .and_then(|directory| {
                    command
                        .current_dir(directory)
                        .stdin(Stdio::null())
                        .stdout(Stdio::null())
                        .stderr(Stdio::null());
                    command.process_group(0).kill_on_drop(true).spawn()
                }),
        )
    }

    /// Orders everything that runs to end at once.
    pub(crate) fn end_all(&self) {
        for sender in self.running().values() {
            // A process that has just gone by itself needs no order.
            let _ = sender.send(true);
        }
    }

    /// Ends everything that runs, and waits until it is gone.
    pub(crate) async fn stop(&self) {
        self.end_all();
        let gone = async {
            while !self.running().is_empty() {
                // The task of each process says when it is gone; the tick covers one that had said so before.
                let _ = timeout(TICK, self.wake.notified()).await;
            }
        };
        // Killed processes are gone soon, and what is not is ended with the tasks that hold it.
        let _ = timeout(Duration::from_secs(5), gone).await;
    }
}

/// The processes of a job, which end with whoever holds this.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // A group that has gone needs no signal.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    Exit {
        code: status.code().unwrap_or_default(),
        signal: status.signal().unwrap_or_default(),
    }
}

/// Opens a file for the output of a job; a pipe would make the scheduler wait for its reader.
fn create(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .custom_flags(flags)
        .open(path)
}

fn write_program(path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// The program of a script's first line, with its one argument.
fn interpreter(script: &str) -> (&str, Option<&str>) {
    let line = script
        .lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("#!")
        .trim();
    match line.split_once(char::is_whitespace) {
        Some((program, argument)) => (program, Some(argument.trim())),
        None => (line, None),
    }
}

/// The steps that the stand-in for `srun` wrote down.
fn read_steps(folder: &Path) -> Vec<Step> {
    let read = |index: usize, name: &str| fs::read_to_string(folder.join(index.to_string()).join(name)).ok();
    let step = |index: usize| {
        let name = read(index, "name")?.trim().to_owned();
        let start_s = read(index, "start")?.trim().parse().ok()?;
        let end = read(index, "exit").and_then(|text| {
            let (end_s, code) = text.trim().split_once(' ')?;
            Some((
                end_s.parse().ok()?,
                Exit {
                    code: code.parse().ok()?,
                    signal: 0,
                },
            ))
        });
        Some(Step { name, start_s, end })
    };
    (0..).map_while(step).collect()
}
