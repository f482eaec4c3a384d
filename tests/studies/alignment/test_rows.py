"""The list of rows: every name once, equal numbers of trials, nothing judged by what it is trained on."""

from dataclasses import replace

from hmralign.critics.names import CRITICS
from hmralign.storage.presets import preset_path
from hmralign.studies.alignment.figures import reference_of
from hmralign.studies.alignment.rows import BASE, all_rows, chosen_rows, row_named
from hmralign.systems.align.configuration import read_align_config


def test_names_and_folders_are_distinct():
    rows = all_rows()
    assert rows[0].name == BASE and len({r.name for r in rows}) == len({r.key for r in rows}) == len(rows)


def test_every_row_has_three_trials_but_the_ceiling_and_what_has_the_rate_of_another():
    for row in all_rows():
        trials = len(row.rates) * len(row.lengths)
        taken = row.name == "GPA code, denoising alone" or row.name.startswith("GPA code, half truth")
        assert trials == (8 if row.group == "ceiling" else 1 if taken else 3), row.name
        assert not taken or set(row.rates) < set(row_named("GPA code, scorer").rates)


def test_at_most_six_are_ours_and_all_of_them_matter():
    ours = [row for row in all_rows() if row.group == "ours"]
    assert len(ours) == 6 and all(row.matters for row in ours)


def test_what_is_trained_on_is_named_and_does_not_judge():
    for row in all_rows():
        if row.config is not None and row.critic is not None:
            assert row.config.critic == row.critic in tuple(CRITICS)
            assert row.config.held_out_critic != row.critic
        elif row.config is not None:
            assert not row.config.uses_scores, row.name


def test_rows_are_chosen_by_a_part_of_their_name():
    assert [r.name for r in chosen_rows(("DPO, or",))] == [BASE, "DPO, oracle", "DPO, oracle-noisy"]
    assert [r.name for r in chosen_rows(("DPO, oracle",))] == [BASE, "DPO, oracle"], "a name is that row alone"
    assert chosen_rows(()) == all_rows()
    assert row_named("best-of-N x 1.5, scorer").extrapolates == "best-of-N, scorer"


def test_gpas_two_forms_are_those_of_the_presets():
    """With the study's own rates, and 14 of 16 members drawn where the code draws 20 of 22."""
    for name, preset in (("GPA paper, oracle", "gpa-paper"), ("GPA code, oracle", "gpa-code")):
        row, config = row_named(name).config, read_align_config(preset_path("align", preset))
        drawn = 14 if preset == "gpa-code" else None
        assert row.settings == replace(config.settings, drawn=drawn)
        assert row.training.loss_weight == config.training.loss_weight and row.training.ema_decay == 0.98
    half = row_named("GPA code, half truth, scorer")
    assert half.config.scores == ("scorer-lab", "oracle-gpa") and half.config.labelled.batch_share == 0.5
    alone = row_named("GPA code, denoising alone").config
    assert alone.settings == replace(row_named("GPA code, oracle").config.settings, preference=0.0)


def test_every_row_with_a_critic_is_compared_with_best_of_n_of_the_same():
    rows = {row.name: row for row in all_rows()}
    for row in rows.values():
        reference = reference_of(row)
        if reference is None:
            assert row.critic is None or row.name in (
                "best-of-N, random critic",
                f"best-of-N, {row.name.split(', ')[-1]}",
            )
        else:
            assert rows[reference].critic == row.critic
    assert reference_of(rows["best-of-N, top 4 fused, scorer"]) == "best-of-N, scorer"
