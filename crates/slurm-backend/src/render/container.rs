//! What a server's processes are started in.

use askama::Template;
use firecrest_client::RemotePath;
use gipfel_model::{BackendKind, ContainerKind, SlurmSpec};

use super::{RenderError, RenderedFile, container_kind, private, shell, text};
use crate::site::Site;

/// The name of the file that describes the container to the Container Engine.
const EDF: &str = "engine.toml";

/// How a script of ours is started on a node.
pub(super) struct Launcher {
    /// Further options of `srun`, each one word.
    pub(super) step_options: Vec<String>,
    /// The words before `bash` and the script.
    pub(super) before: String,
    /// The files that this needs.
    pub(super) files: Vec<RenderedFile>,
}

/// The Environment Definition File of the Container Engine.
#[derive(Template)]
#[template(path = "engine.toml", escape = "none")]
struct Edf {
    image: String,
    mounts: Vec<String>,
    directory: String,
    /// The variant of the hook for NCCL; absent for an image that has the network's libraries itself.
    hook: Option<String>,
}

/// The image that a server is started in; nothing where it is started without one, or none is known.
pub fn image(slurm: &SlurmSpec, backend: BackendKind, site: &Site) -> Option<String> {
    let kind = container_kind(
        slurm.container,
        slurm.command.is_some(),
        slurm.image.as_deref(),
        site,
    );
    given_image(slurm, backend, site)
        .filter(|_| kind != ContainerKind::Bare)
        .cloned()
}

fn given_image<'a>(slurm: &'a SlurmSpec, backend: BackendKind, site: &'a Site) -> Option<&'a String> {
    slurm
        .image
        .as_ref()
        .or_else(|| site.container.images.get(&backend))
}

/// The launcher of a server's processes.
pub(super) fn launcher(
    slurm: &SlurmSpec,
    backend: BackendKind,
    site: &Site,
    directory: &RemotePath,
) -> Result<Launcher, RenderError> {
    let given = given_image(slurm, backend, site);
    let kind = container_kind(
        slurm.container,
        slurm.command.is_some(),
        slurm.image.as_deref(),
        site,
    );
    let image = || {
        let image = given.ok_or_else(|| RenderError::NoImage {
            backend,
            site: site.name.clone(),
        })?;
        shell::check_text("`image`", image).map(|()| image.clone())
    };
    let mounts = mounts(slurm, site, directory);
    match kind {
        ContainerKind::Bare => Ok(Launcher {
            step_options: Vec::new(),
            before: String::new(),
            files: Vec::new(),
        }),
        ContainerKind::Apptainer => Ok(apptainer(&image()?, &mounts)),
        ContainerKind::ContainerEngine => {
            let hook = site.container.aws_ofi_nccl.clone();
            container_engine(
                image()?,
                &mounts,
                directory,
                Some(hook.unwrap_or_else(|| "cuda12".to_owned())),
            )
        }
        ContainerKind::SelfContained => {
            let mut launcher = container_engine(image()?, &mounts, directory, None)?;
            launcher
                .step_options
                .push("--network=disable_rdzv_get".to_owned());
            Ok(launcher)
        }
    }
}

/// The profile's directories, and those of the job that do not lie in them.
fn mounts(slurm: &SlurmSpec, site: &Site, directory: &RemotePath) -> Vec<String> {
    let mut mounts = site.container.mounts.clone();
    let wanted = [Some(directory.as_str()), slurm.hf_home.as_deref()];
    for path in wanted.into_iter().flatten().filter(|path| path.starts_with('/')) {
        let is_below = |mount: &String| {
            let rest = path.strip_prefix(mount.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if !mounts.iter().any(is_below) {
            mounts.push(path.to_owned());
        }
    }
    mounts
}

fn container_engine(
    image: String,
    mounts: &[String],
    directory: &RemotePath,
    hook: Option<String>,
) -> Result<Launcher, RenderError> {
    let edf = Edf {
        image: shell::toml_string(&image),
        mounts: mounts
            .iter()
            .map(|path| shell::toml_string(&format!("{path}:{path}")))
            .collect(),
        directory: shell::toml_string(directory.as_str()),
        hook: hook.as_deref().map(shell::toml_string),
    };
    // Without a slash the Container Engine would take it for a name in its own folders.
    let path = directory.join(EDF)?;
    Ok(Launcher {
        step_options: vec![format!("--environment={path}")],
        before: String::new(),
        files: vec![private(EDF, text(&edf)?)],
    })
}

fn apptainer(image: &str, mounts: &[String]) -> Launcher {
    let mut words = vec!["apptainer".to_owned(), "exec".to_owned(), "--nv".to_owned()];
    for mount in mounts {
        words.extend(["--bind".to_owned(), mount.clone()]);
    }
    words.push(image.to_owned());
    Launcher {
        step_options: Vec::new(),
        before: format!("{} ", shell::words(&words)),
        files: Vec::new(),
    }
}
