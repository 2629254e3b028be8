"""Many findings in few words, and none of them lost from sight."""

import dataclasses

from mlff_curate.checks.finding import Finding
from mlff_curate.report.check import ROWS, shown_findings
from mlff_curate.report.findings import by_rule, counts_text, finding_lines, where


def finding(
    file="a.xyz", frame=0, rule="force-sign", severity="error", message="points uphill", key=None, fix="turn it"
):
    return Finding(file, frame, key, rule, severity, None, message, fix)


def places(*findings):
    (group,) = by_rule(findings)
    return group.places()


def test_places_are_named_as_shortly_as_they_can_be():
    assert places(finding(frame=3)) == "frame 3 of a.xyz"
    assert places(finding(frame=3), finding(frame=5)) == "2 frames of a.xyz (3, 5)"
    assert places(*(finding(frame=i) for i in range(9))) == "9 frames of a.xyz (0, 1, 2, 3, 4, ...)"
    assert places(finding(), finding("b.xyz", 7)) == "2 frames of 2 files (a.xyz#0, b.xyz#7)"
    assert places(finding(frame=None), finding(None, None)) == "a.xyz, all inputs"
    assert places(finding(frame=None), finding("b.xyz", 7)) == "a.xyz; frame 7 of b.xyz"
    assert places(*(finding(f"{i}.xyz", None) for i in range(7))).endswith("4.xyz and 2 more files")


def test_two_findings_of_one_frame_are_one_place():
    assert places(finding(frame=3), finding(frame=3, key="forces")) == "frame 3 of a.xyz"


def test_the_gravest_and_then_the_most_frequent_come_first():
    findings = [finding(rule="b", severity="note"), finding(rule="c"), finding(rule="d"), finding(rule="d")]
    assert [(group.severity, group.rule) for group in by_rule(findings)] == [
        ("error", "d"),
        ("error", "c"),
        ("note", "b"),
    ]


def test_messages_that_differ_by_numbers_are_quoted_once():
    told = [finding(frame=i, message=f"a force of {i}.5 eV/Angstrom on 'atom {i}'") for i in range(4)]
    lines = finding_lines([*told, finding(frame=9, message="no forces at all")])
    assert lines == [
        "error: force-sign: 5 frames of a.xyz (0, 1, 2, 3, 9)",
        "    frame 0: a force of 0.5 eV/Angstrom on 'atom 0'",
        "    frame 9: no forces at all",
        "    to do: turn it",
    ]


def test_counts_are_words():
    assert counts_text([]) == "nothing found"
    assert counts_text([finding(), finding(severity="note"), finding(severity="note")]) == "1 error, 2 notes"


def test_a_finding_stands_where_an_error_would():
    assert where(finding(key="forces")) == "a.xyz: frame 0: forces"
    assert where(dataclasses.replace(finding(), file=None, frame=None)) == "all inputs"


def test_no_rule_is_crowded_off_the_page():
    many = [finding(frame=i) for i in range(10 * ROWS)]
    shown = shown_findings([*many, finding(rule="z", severity="note")])
    assert len(shown) == ROWS
    assert shown[-1].rule == "z"
    assert [f.frame for f in shown[:3]] == [0, 1, 2]


def test_where_nothing_is_to_do_there_is_no_such_line():
    done, sorted_ = finding(), finding(rule="atoms-sorted", severity="note", message="sorted by id", fix="")
    assert finding_lines([done, sorted_]) == [
        "error: force-sign: frame 0 of a.xyz",
        "    points uphill",
        "    to do: turn it",
        "note: atoms-sorted: frame 0 of a.xyz",
        "    sorted by id",
    ]
    assert finding_lines([sorted_], every=True) == ["note: a.xyz: frame 0: atoms-sorted: sorted by id"]
