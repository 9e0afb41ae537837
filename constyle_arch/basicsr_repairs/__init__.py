"""The one room for what BasicSR 1.4.2 needs to run correctly on today's PyTorch.

Each repair is one function that replaces one thing and says which fault it answers:

- `imports`: what must hold before `import basicsr`; applied by importing `constyle_arch`.
- `processes`: devices and process groups.
- `archs`: networks of BasicSR's that cannot be built.
- `loaders`: how long an epoch is, what a worker draws, how an LMDB is opened.
- `runs`: how a run reads its options, finds the state to resume from, and is logged.

`constyle_arch.register()` puts all but the first in place. What `RestorationModel` can override is
not repaired here.
"""


def apply() -> None:
    """Repair the imported BasicSR; calling it again changes nothing."""
    from constyle_arch.basicsr_repairs import archs, loaders, processes, runs

    for repair in (
        processes.start_processes_without_cuda,
        processes.wrap_networks_without_cuda,
        archs.build_srresnet_at_scale_one,
        loaders.train_whole_epochs,
        loaders.share_lmdb_environments,
        runs.read_options_safely,
        runs.resume_where_the_experiment_is,
        runs.archive_under_a_free_name,
        runs.log_at_length_to_the_file_alone,
        runs.count_the_time_left_to_zero,
        runs.show_runs_in_current_wandb,
    ):
        repair()
