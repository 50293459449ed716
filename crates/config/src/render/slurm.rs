//! The keys of Slurm jobs.

use gipfel_model::{
    ExperimentSpec, LoadPlacement, SlurmJob, SlurmLoad, SlurmReach, SlurmSpec, deployment::Placement,
};

use super::{Writer, write_command};

pub(super) fn write_server(writer: &mut Writer, slurm: &SlurmSpec) {
    write_reach(writer, &slurm.reach);
    writer.optional_text(2, "account", slurm.job.account.as_ref());
    write_server_job(writer, &slurm.job);
    writer.text_entry(2, "hf_token_path", &slurm.hf_token_path);
    writer.optional_text(2, "hf_home", slurm.hf_home.as_ref());
    writer.entry(2, "gpus_per_node", slurm.gpus_per_node);
    writer.entry(2, "port", slurm.port);
    writer.optional_text(2, "image", slurm.image.as_ref());
    if let Some(container) = slurm.container {
        writer.entry(2, "container", container);
    }
    write_command(
        writer,
        slurm.command.as_deref(),
        &slurm.environment,
        &slurm.extra_args,
    );
}

/// What the server's keys have not said already.
pub(super) fn write_load(writer: &mut Writer, experiment: &ExperimentSpec) {
    let is_server_slurm = match &experiment.deployment.placement {
        Placement::Slurm(_) => true,
        Placement::External(_) | Placement::K8s(_) => false,
        Placement::Local(_) => return,
    };
    if is_server_slurm || !experiment.load.is_local() {
        writer.entry(2, "benchmarker", experiment.load.kind());
    }
    if let LoadPlacement::Slurm(load) = &experiment.load {
        if !is_server_slurm {
            write_reach(writer, &load.reach);
            writer.optional_text(2, "account", load.job.account.as_ref());
        }
        write_load_job(writer, load);
    }
}

fn write_reach(writer: &mut Writer, reach: &SlurmReach) {
    writer.entry(2, "cluster", reach.cluster);
    writer.optional_text(2, "firecrest_system", reach.firecrest_system.as_ref());
    writer.optional_text(2, "ssh_host", reach.ssh_host.as_ref());
    writer.optional_text(2, "site", reach.site.as_ref());
    writer.optional_text(2, "scratch_base", reach.scratch_base.as_ref());
}

fn write_server_job(writer: &mut Writer, job: &SlurmJob) {
    writer.text_entry(2, "partition", &job.partition);
    writer.optional_text(2, "qos", job.qos.as_ref());
    writer.optional_text(2, "reservation", job.reservation.as_ref());
    writer.optional_text(2, "constraint", job.constraint.as_ref());
    writer.optional_text(2, "exclude", job.exclude.as_ref());
    writer.text_entry(2, "server_time_limit", &job.walltime.to_string());
    if !job.sbatch_args.is_empty() {
        writer.list(2, "sbatch_args", &job.sbatch_args);
    }
}

fn write_load_job(writer: &mut Writer, load: &SlurmLoad) {
    writer.text_entry(2, "benchmarker_partition", &load.job.partition);
    writer.text_entry(2, "benchmarker_time_limit", &load.job.walltime.to_string());
    if !load.job.sbatch_args.is_empty() {
        writer.list(2, "benchmarker_sbatch_args", &load.job.sbatch_args);
    }
    writer.entry(2, "benchmarker_nodes", load.nodes);
    writer.entry(2, "benchmarker_tasks_per_node", load.tasks_per_node);
}
