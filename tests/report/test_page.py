"""The report page says what was decided, in one file that loads nothing and runs nothing of the user's."""

import dataclasses
import json
import re
import subprocess
import sys
import time
from html.parser import HTMLParser

import numpy as np
import plotly.offline
import pytest

from mlff_curate.report import GroupCounts, PruneReport, ReasonCount, render
from mlff_curate.report.curve import CurveReport, render_curve
from mlff_curate.validation.learning_curve import (
    ALL,
    CurvePoint,
    Estimate,
    HeldOutError,
    LearningCurve,
    Verdict,
)

EVIL = '</script><script>alert("x")</script><img src=x onerror=alert(1)>&amp;{{ 7*7 }}'
NAN = float("nan")


def make_report(P=60, **changes) -> PruneReport:
    rng = np.random.default_rng(0)
    frames = np.array([1, 10, 57, 73, 200, 363])
    report = PruneReport(
        title="mlff-curate prune: md.extxyz",
        command="mlff-curate prune md.extxyz --keep 0.2 --seed 5",
        version="0.1.0",
        inputs=("md.extxyz", "more.extxyz"),
        output="md.pruned.extxyz",
        options={"keep": "0.2", "seed": "5", "cutoff": "4.75 Å"},
        seconds={"read": 0.314, "describe": 1.271},
        peak_memory_mb=612.4,
        notes=("2 isolated atoms are always kept.",),
        labels={"REF_energy": 361, "REF_forces": 359},
        groups=(GroupCounts("Surface", 63, 23, 39, 1, 1111), GroupCounts("Liquid", 300, 50, 250, 0, 3113)),
        reasons=(
            ReasonCount("dropped", "represented by kept frames", 289),
            ReasonCount("kept", "represents a cluster", 71),
            ReasonCount("kept", "isolated atom", 2),
            ReasonCount("rejected", "exact duplicate", 1),
        ),
        map_xy=rng.normal(size=(P, 2)),
        map_kept=rng.random(P) < 0.3,
        map_cluster=rng.integers(-1, 57, P),
        map_group=np.where(rng.random(P) < 0.5, "Surface", "Liquid"),
        map_label=np.array([f"md.extxyz #{i}, atom 0 (Ta)" for i in range(P)]),
        map_axes=("axis 1 (64 % of the variance)", "axis 2 (18 % of the variance)"),
        environments=4224,
        cluster_sizes=np.arange(57, 0, -1) * 2,
        cluster_kept=np.arange(57, 0, -1),
        outliers=12,
        outliers_kept=5,
        distances_in="descriptor",
        uncovered=0.0421,
        farthest=1.375,
        curve_frames=frames,
        curve_coverage=frames / 363.0,
        chosen=73,
        floor=57,
    )
    return dataclasses.replace(report, **changes)


class Page(HTMLParser):
    """The page as a browser's parser sees it: elements, scripts and visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(page)
        self.text = " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in {"script", "style"}:
            self._inside = tag
            if tag == "script":
                self.scripts.append("")

    def handle_endtag(self, tag):
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif not self._inside:
            self.words.append(data)

    @property
    def figures(self):
        def refuse(constant):
            raise AssertionError(f"{constant} is no JSON")

        return json.loads(self.scripts[0], parse_constant=refuse)

    def table_rows(self) -> int:
        return sum(tag == "tr" for tag, _ in self.elements)


# Cheap without plotly.js and identical otherwise; the page with it is tested below.
@pytest.fixture
def without_plotly(monkeypatch):
    monkeypatch.setattr(plotly.offline, "get_plotlyjs", lambda: "/* plotly.js */")


def read(**changes) -> Page:
    return Page(render(make_report(**changes)))


@pytest.mark.usefixtures("without_plotly")
class TestContent:
    def test_headline_counts_frames_environments_clusters_and_outliers(self):
        expected = (
            "73 of 363 frames kept (20.1 %), 289 dropped, 1 rejected; 4224 environments in 57 clusters, 12 outliers."
        )
        assert expected in read().text

    @pytest.mark.parametrize(
        "words",
        [
            "Surface 63 23 39 1 1111 36.5 %",
            "Liquid 300 50 250 0 3113 16.7 %",
            "All 363 73 289 1 4224 20.1 %",
            "dropped represented by kept frames 289 79.6 %",
            "kept represents a cluster 71 19.6 %",
            "kept isolated atom 2 0.6 %",
            "rejected exact duplicate 1 0.3 %",
            "2 isolated atoms are always kept.",
            "A sample of 60 of the 4224 environments.",
            "57 clusters. Each has at least one environment in a kept frame.",
            "57 frames are needed to represent every cluster and group; 73 frames are kept.",
            "12 outliers, in no cluster: 5 in kept frames, 7 in frames not kept.",
            "Coverage at 73 kept frames: 0.201.",
            "Distances are measured in the scaled descriptor, in units of the root-mean-square distance",
            "Uncovered share: 0.0421,",
            "The farthest environment of a frame not kept is 1.38 from the nearest kept one.",
            "keep 0.2",
            "seed 5",
            "cutoff 4.75 Å",
            "read 0.31",
            "describe 1.27",
            "Peak memory 612 MB",
            "Labels: REF_energy on 361 frames, REF_forces on 359 frames.",
            "Input md.extxyz",
            "Input more.extxyz",
            "Output md.pruned.extxyz",
            "mlff-curate 0.1.0",
            "mlff-curate prune md.extxyz --keep 0.2 --seed 5",
        ],
    )
    def test_every_number_is_on_the_page(self, words):
        assert words in read().text

    def test_groups_come_with_most_frames_first(self):
        text = read().text
        assert text.index("Liquid 300") < text.index("Surface 63") < text.index("All 363")

    def test_unlabelled_frames_are_called_so(self):
        assert "The frames carry no labels." in read(labels={}).text

    def test_the_map_is_called_whole_when_it_is(self):
        assert "All 60 environments." in read(environments=60).text

    def test_fewer_frames_than_clusters_need_is_said(self):
        text = read(chosen=40).text
        assert "57 frames are needed to represent every cluster and group; 40 frames are kept, which is fewer." in text
        assert "Coverage at 40 kept frames: about 0.110." in text

    def test_a_coverage_that_is_nearly_whole_is_not_called_whole(self):
        assert "Coverage at 73 kept frames: above 0.999." in read(curve_coverage=np.full(6, 0.99996)).text
        assert "Coverage at 73 kept frames: 1.000." in read(curve_coverage=np.ones(6)).text

    def test_distances_in_the_embedding_are_called_so(self):
        assert "Distances are measured in MEAGraph's embedding," in read(distances_in="meagraph").text

    def test_what_was_not_measured_is_not_spoken_of(self):
        text = read(uncovered=None, farthest=None, outliers=0, outliers_kept=0).text
        assert not any(word in text for word in ("Uncovered", "farthest", "in no cluster"))

    @pytest.mark.parametrize(
        ("kept", "words"),
        [
            ([4, 0, 0], "3 clusters, of which 2 have no environment in a kept frame."),
            ([4, 2, 0], "3 clusters, of which 1 has no environment in a kept frame."),
            ([0, 0, 0], "3 clusters. None has an environment in a kept frame."),
        ],
    )
    def test_clusters_without_kept_environments_are_counted(self, kept, words):
        assert words in read(cluster_sizes=np.array([9, 5, 1]), cluster_kept=np.array(kept)).text


@pytest.mark.usefixtures("without_plotly")
class TestFigures:
    @pytest.mark.parametrize("view", ["decision", "cluster", "group"])
    def test_each_view_of_the_map_shows_every_point_once(self, view):
        report = make_report()
        figure = Page(render(report)).figures["map"]
        points = [i for trace in figure["views"][view] for i in trace["points"]]
        assert sorted(points) == list(range(60))
        np.testing.assert_allclose(figure["x"], report.map_xy[:, 0], atol=1e-5)
        np.testing.assert_allclose(figure["y"], report.map_xy[:, 1], atol=1e-5)

    @pytest.mark.parametrize("view", ["decision", "cluster", "group"])
    def test_filled_points_are_exactly_those_in_kept_frames(self, view):
        report = make_report()
        traces = Page(render(report)).figures["map"]["views"][view]
        filled = [i for trace in traces if trace["symbol"] == "circle" for i in trace["points"]]
        assert sorted(filled) == np.flatnonzero(report.map_kept).tolist()

    def test_hover_text_names_frame_group_and_cluster(self):
        report = make_report()
        text = Page(render(report)).figures["map"]["text"][3]
        assert text.startswith(f"md.extxyz #3, atom 0 (Ta)<br>group: {report.map_group[3]}<br>")
        assert f"cluster {report.map_cluster[3]}" in text

    def test_each_colour_has_one_entry_in_the_legend(self):
        traces = read().figures["map"]["views"]["group"]
        names = [trace["name"] for trace in traces if trace["name"]]
        assert sorted(name.split()[0] for name in names) == ["Liquid", "Surface"]

    def test_all_axes_have_titles(self):
        for figure in read().figures.values():
            axes = {key: axis for key, axis in figure["layout"].items() if re.match(r"[xy]axis", key)}
            assert len(axes) >= 2
            assert all(axis["title"]["text"] for axis in axes.values())

    def test_cluster_sizes_stand_on_a_log_axis_and_their_kept_share_below(self):
        figure = read(cluster_sizes=np.array([8, 4, 1]), cluster_kept=np.array([2, 4, 0])).figures["clusters"]
        assert figure["layout"]["yaxis"]["type"] == "log"
        # A log axis has no zero.
        assert [trace["y"] for trace in figure["data"]] == [[8, 4, 1], [2, 4, None], [25, 100, 0]]

    def test_coverage_marks_what_is_kept_and_what_every_cluster_needs(self):
        layout = read(chosen=np.int64(73), floor=np.int64(57)).figures["coverage"]["layout"]
        assert {shape["x0"] for shape in layout["shapes"]} == {73, 57}
        assert {note["text"] for note in layout["annotations"]} == {
            "kept: 73",
            "needed for every cluster and group: 57",
        }


def held(mean, error=0.1, group="Surface") -> HeldOutError:
    return HeldOutError(
        Estimate(mean, error), Estimate(0.9 * mean, error), Estimate(3 * mean, error), "" if np.isnan(mean) else group
    )


def make_curve(selector="coverage", group="Surface", stress=NAN, **changes) -> LearningCurve:
    variety = (Estimate(5.0, 0.1), Estimate(6.0, 0.1), Estimate(0.7, 0.01))

    def point(name, fraction, frames, energy, forces):
        return CurvePoint(
            name,
            fraction,
            frames,
            held(energy, group=group),
            held(forces, 0.004, group),
            held(stress, 0.2, group),
            *variety,
        )

    points = (
        point(selector, 0.1, 29, 3.21, 0.1212),
        point("random", 0.1, 29, 4.5, 0.1220),
        point(ALL, 1.0, 290, 2.9, 0.11),
    )
    verdicts = (
        Verdict(selector, 0.1, 29, "energy", "better", Estimate(0.3, 0.1)),
        Verdict(selector, 0.1, 29, "forces", "as good", Estimate(0.01, 0.1), (0.81, 1.2)),
    )
    curve = LearningCurve(points, verdicts, ("Five seeds.",), "quadratic SNAP", 5, 1.0)
    return dataclasses.replace(curve, **changes)


@pytest.mark.usefixtures("without_plotly")
class TestProof:
    def test_no_proof_no_section(self):
        page = read()
        assert "Proof" not in page.text
        assert not [name for name in page.figures if name.startswith("curve")]

    def test_selectors_stand_below_each_other_with_error_bars(self):
        text = read(proof=make_curve()).text
        assert "coverage 10 % 29 3.21 ± 0.10 0.121 ± 0.004 5.00 ± 0.10" in text
        assert "random 10 % 29 4.50 ± 0.10 0.122 ± 0.004" in text
        assert "all data 100 % 290 2.90 ± 0.10 0.110 ± 0.004" in text
        assert "9.63 ± 0.10 Surface" in text  # the worst group has a name
        assert "Five seeds." in text

    def test_where_random_is_as_good_the_page_says_so(self):
        text = read(proof=make_curve()).text
        assert (
            "coverage against random, mean over groups: better in 1 of 2 comparisons, random is as good in 1." in text
        )
        assert "Against random Share Frames in the fit Energy Forces" in text
        assert "coverage 10 % 29 better, x 0.741 as good, x 0.99 (0.81 to 1.2)" in text

    def test_lines_of_all_selectors_end_at_the_whole_pool_with_their_error_bars(self):
        figure = read(proof=make_curve()).figures["curve-energy"]
        for line, first in zip(figure["data"][:2], (3.21, 4.5), strict=True):
            assert line["x"] == [29, 290]
            assert line["y"] == [first, 2.9]
            assert line["error_y"]["array"] == [0.1, 0.1]

    def test_a_log_axis_writes_its_numbers_out(self):
        axis = read(proof=make_curve()).figures["curve-forces"]["layout"]["yaxis"]
        assert axis["ticktext"] == [f"{t:g}" for t in axis["tickvals"]]
        assert 0.1 in axis["tickvals"]

    def test_stress_has_a_figure_and_a_column_only_where_it_was_measured(self):
        without, with_stress = read(proof=make_curve()), read(proof=make_curve(stress=1.5))
        assert "curve-stress" not in without.figures
        assert "Stress MAE" not in without.text
        assert "curve-stress" in with_stress.figures
        assert "1.50 ± 0.20" in with_stress.text

    def test_one_split_leaves_no_gap_in_the_data(self):
        one = dataclasses.replace(make_curve().points[0], energy=HeldOutError(*[Estimate(3.0, NAN)] * 3, "Surface"))
        figure = read(proof=make_curve(points=(one, *make_curve().points[1:]))).figures["curve-energy"]
        assert figure["data"][0]["error_y"]["array"] == [0.0, 0.1]


@pytest.mark.usefixtures("without_plotly")
class TestLearningCurvePage:
    def page(self, **changes) -> Page:
        values = {
            "title": "Learning curve: md.extxyz",
            "command": "mlff-curate learning-curve md.extxyz",
            "version": "0.1.0",
            "inputs": ("md.extxyz",),
            "output": "md.learning-curve.html",
            "options": {"seed": "5"},
            "seconds": {"fits": 1.25},
            "peak_memory_mb": 612.4,
            "curve": make_curve(),
        }
        return Page(render_curve(CurveReport(**{**values, **changes})))

    def test_it_holds_the_same_section_as_the_report_of_prune(self):
        page = self.page()
        for part in ("coverage 10 % 29 3.21 ± 0.10", "Held-out forces", "random is as good", "fits 1.25", "612 MB"):
            assert part in page.text
        assert set(page.figures) == {"curve-energy", "curve-forces", "curve-variety"}
        assert "mlff-curate learning-curve md.extxyz" in page.text

    def test_markup_in_the_users_files_stays_text(self):
        page = self.page(
            title=EVIL, command=EVIL, inputs=(EVIL,), output=EVIL, curve=make_curve(EVIL, EVIL, notes=(EVIL,))
        )
        assert len(page.scripts) == len(self.page().scripts)
        assert not any(tag == "img" for tag, _ in page.elements)


@pytest.mark.usefixtures("without_plotly")
class TestSafety:
    def evil_report(self) -> PruneReport:
        P = 4
        return make_report(
            P=P,
            title=EVIL,
            command=EVIL,
            version=EVIL,
            inputs=(EVIL,),
            output=EVIL,
            options={EVIL: EVIL},
            seconds={EVIL: 1.0},
            notes=(EVIL,),
            labels={EVIL: 3},
            groups=(GroupCounts(EVIL, 1, 1, 0, 0, 1),),
            reasons=(ReasonCount(EVIL, EVIL, 1),),
            map_group=np.array([EVIL] * P),
            map_label=np.array([EVIL] * P),
            map_axes=(EVIL, EVIL),
            proof=make_curve(EVIL, EVIL, notes=(EVIL,)),
        )

    def test_markup_in_the_users_files_stays_text(self):
        page, plain = Page(render(self.evil_report())), read()
        assert len(page.scripts) == len(plain.scripts) == 3
        assert not any(tag == "img" for tag, _ in page.elements)
        assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
        assert page.text.count("<img src=x onerror=alert(1)>&amp;{{ 7*7 }}") >= 14

    def test_markup_does_not_break_out_of_the_embedded_data(self):
        page = render(self.evil_report())
        start = page.index('id="report-data">')
        assert "<" not in page[start : page.index("</script>", start)]
        assert Page(page).figures["map"]["layout"]["xaxis"]["title"]["text"].endswith("&amp;amp;{{ 7*7 }}")

    def test_plotly_gets_no_markup_of_the_users(self):
        figure = Page(render(self.evil_report())).figures["map"]
        for text in figure["text"]:
            assert set(re.findall(r"<[^>]*>", text)) == {"<br>"}
        assert not any("<" in (trace["name"] or "") for trace in figure["views"]["group"])

    def test_a_file_name_that_is_no_text_still_gives_utf8(self):
        assert r"a\udcff.xyz" in render(make_report(inputs=("a\udcff.xyz",))).encode("utf-8").decode("utf-8")


class TestWholePage:
    def test_the_page_loads_nothing(self):
        page = Page(render(make_report()))
        loading = {"src", "href", "srcset", "data", "action", "formaction", "poster", "background"}
        assert not [(tag, attrs) for tag, attrs in page.elements if loading & set(attrs)]
        assert not any(tag in {"link", "iframe", "object", "embed", "base"} for tag, _ in page.elements)
        policy = next(a["content"] for t, a in page.elements if t == "meta" and "content-security" in str(a).lower())
        assert policy is not None
        assert policy.startswith("default-src 'none';")
        assert "http" not in policy

    def test_plotly_is_inlined_once_and_whole(self):
        page = render(make_report())
        assert page.count(plotly.offline.get_plotlyjs()) == 1
        assert len(Page(page).scripts) == 3

    def test_equal_input_gives_equal_bytes(self):
        assert render(make_report()) == render(make_report())

    def test_equal_bytes_whatever_the_hash_seed(self):
        code = "import hashlib, test_page as t; print(hashlib.sha256(t.render(t.make_report()).encode()).hexdigest())"
        digests = {
            subprocess.run(
                [sys.executable, "-c", code],
                check=True,
                capture_output=True,
                text=True,
                cwd=__file__.rpartition("/")[0],
                env={"PYTHONHASHSEED": seed},
            ).stdout
            for seed in ("1", "2")
        }
        assert len(digests) == 1

    def test_a_full_map_is_rendered_quickly(self):
        report = make_report(P=5000)
        render(report)
        start = time.process_time()
        render(report)
        assert time.process_time() - start < 0.6  # 0.1 s on an idle machine


@pytest.mark.usefixtures("without_plotly")
class TestEdgeCases:
    def test_one_environment(self):
        page = read(
            P=1,
            groups=(GroupCounts("all", 1, 1, 0, 0, 1),),
            map_kept=np.array([True]),
            environments=1,
            outliers=1,
            cluster_sizes=np.array([1]),
            cluster_kept=np.array([1]),
            curve_frames=np.array([1]),
            curve_coverage=np.array([1.0]),
            chosen=1,
            floor=1,
        )
        assert "1 of 1 frame kept (100.0 %), 0 dropped, 0 rejected; 1 environment in 1 cluster, 1 outlier." in page.text
        assert "1 cluster. It has at least one environment in a kept frame." in page.text
        assert "1 frame is needed to represent every cluster and group; 1 frame is kept." in page.text
        assert page.figures["clusters"]["data"][0]["y"] == [1]

    @pytest.mark.parametrize(("kept", "dropped"), [(0, 363), (363, 0)])
    def test_nothing_kept_and_nothing_dropped(self, kept, dropped):
        page = read(
            groups=(GroupCounts("all", 363, kept, dropped, 0, 4224),), map_kept=np.full(60, kept > 0), chosen=kept
        )
        assert f"{kept} of 363 frames kept ({100.0 if kept else 0.0} %), {dropped} dropped" in page.text
        for view in page.figures["map"]["views"].values():
            assert {trace["symbol"] for trace in view} == {"circle" if kept else "circle-open"}

    def test_no_environments_no_clusters_no_curve(self):
        page = read(
            P=0,
            groups=(),
            reasons=(),
            environments=0,
            cluster_sizes=np.empty(0, int),
            cluster_kept=np.empty(0, int),
            curve_frames=np.empty(0, int),
            curve_coverage=np.empty(0),
            chosen=0,
            floor=0,
        )
        assert page.figures == {}
        for words in (
            "0 of 0 frames kept, 0 dropped",
            "There are no environments to show.",
            "There are no clusters.",
            "No coverage curve was computed.",
        ):
            assert words in page.text

    def test_thousands_of_groups_are_capped_and_add_up(self):
        groups = tuple(GroupCounts(f"g{i}", 7, 2, 4, 1, 70) for i in range(3000))
        page = read(groups=groups, map_group=np.array([f"g{i}" for i in range(60)]))
        assert page.table_rows() < 100
        assert "The 50 groups with most frames, of 3000" in page.text
        assert "(2950 other groups) 20650 5900 11800 2950 206500" in page.text
        assert "All 21000 6000 12000 3000 210000" in page.text
        names = [trace["name"] for trace in page.figures["map"]["views"]["group"] if trace["name"]]
        assert "53 other groups (53)" in names
        assert len(names) == 8

    def test_many_reasons_are_capped(self):
        page = read(reasons=tuple(ReasonCount("dropped", f"like frame {i}", 2) for i in range(80)))
        assert "30 more reasons for 60 frames: see the manifest." in page.text

    def test_thousands_of_clusters_have_few_traces(self):
        C = 5000
        page = read(
            P=2000,
            map_cluster=np.arange(2000),
            cluster_sizes=np.arange(C, 0, -1),
            cluster_kept=np.zeros(C, int),
        )
        assert len(page.figures["map"]["views"]["cluster"]) <= 16
        assert len(page.figures["clusters"]["data"]) == 3
        assert f"{C} clusters. None has an environment in a kept frame." in page.text

    def test_not_a_number_becomes_null(self):
        xy = np.array([[np.nan, 1.0], [np.inf, 2.0], [3.0, -np.inf]])
        page = read(P=3, map_xy=xy, curve_coverage=np.full(6, np.nan))
        assert page.figures["map"]["x"] == [None, None, 3.0]
        assert page.figures["map"]["y"] == [1.0, 2.0, None]
        assert page.figures["coverage"]["data"][0]["y"] == [None] * 6

    @pytest.mark.parametrize("scale", [1e-310, 1e-20, 1e20, 1e300])
    def test_any_scale_of_the_embedding_gives_numbers(self, scale):
        assert None not in read(map_xy=np.ones((60, 2)) * scale).figures["map"]["x"]

    def test_long_group_names_are_cut_in_the_legend_only(self):
        name = "x" * 300
        page = read(groups=(GroupCounts(name, 363, 73, 290, 0, 4224),), map_group=np.array([name] * 60))
        assert name in page.text
        assert all(len(t["name"] or "") < 60 for t in page.figures["map"]["views"]["group"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"map_xy": np.zeros((60, 3))}, r"map_xy must have shape \(P, 2\), got \(60, 3\)"),
        ({"map_kept": np.zeros(59, bool)}, r"map_kept must have shape \(60,\) like map_xy, got \(59,\)"),
        ({"cluster_kept": np.zeros(3, int)}, r"cluster_kept must have shape \(57,\) like cluster_sizes"),
        ({"curve_coverage": np.zeros(3)}, r"curve_coverage must have shape \(6,\) like curve_frames"),
        (
            {"groups": (GroupCounts("a", 9, 1, 1, 1, 9),)},
            "group 'a': 1 kept, 1 dropped and 1 rejected do not add up to 9",
        ),
    ],
)
def test_a_report_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_report(**changes)
