"""Report cards as frames, JSON, Markdown and HTML: everything found is shown, and shown as what it is."""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import expo_analysis as ea
from expo_analysis.desiderata.report.html import HEIGHT, LEGEND, LINE, MARKED, WIDTH, drawing, facts, spread
from expo_analysis.desiderata.report.layout import CONSTRUCTED, OFTEN, SELDOM, grouped, ranked, weight, weight_of
from expo_analysis.desiderata.report.provenance import provenance
from expo_analysis.desiderata.report.report_card import COLUMNS, ReportCard, ReportCards
from expo_analysis.desiderata.report.wording import ORDINARY, SIGNS, brief, decided, legend, mark, readable, shown_size
from expo_analysis.desiderata.verdict import (
    CANNOT_TELL,
    DESIDERATA,
    FAILS,
    HOLDS,
    NOT_APPLICABLE,
    Counterexample,
    Severity,
    Verdict,
)

from .cards import CODE, FAILED, HOSTILE, MADE, SEARCHED, SIZES, broken, card, cards, many, more_desiderata, path

COLUMN_ORDER = [key for keys in grouped().values() for key in keys]


@pytest.fixture(scope="module")
def five():
    return cards()


# -------------------------------------------------------------------------------------------------------------- frames


def test_a_card_has_a_row_per_desideratum(five):
    frame = five["dpo"].to_frame()
    assert list(frame) == list(COLUMNS)
    assert list(frame["desideratum"]) == list(DESIDERATA)
    assert list(frame["title"]) == [desideratum.title for desideratum in DESIDERATA.values()]
    assert set(frame["loss"]) == {"dpo"}
    assert set(frame.loc[frame["verdict"] == FAILS, "desideratum"]) == FAILED["dpo"]
    assert ((frame["counterexample"] != "") == (frame["verdict"] == FAILS)).all()


def test_a_frame_says_what_verdicts_rest_on_how_much_they_weigh_and_how_it_was_made(five):
    rows = five["dpo"].to_frame().set_index("desideratum")
    kept = rows.loc["preservation", ["basis", "rule", "severity_unit", "severity_share", "severity_typical"]]
    assert list(kept) == ["proven", "", "TV", 0.9, 0.31] and rows.loc["preservation", "severity_worst"] == 1.2
    assert list(rows.loc["reference_limit", ["basis", "rule", "severity_unit"]]) == ["proven", "a_theorem", ""]
    assert rows.loc["weak_interpolation", "answer"] == "its <mode>"
    assert set(rows.index[rows["severity_share"].notna()]) == set(SIZES) & FAILED["dpo"]
    assert set(rows.index[rows["basis"] == "evidence"]) == set(SEARCHED)
    for column in ("version", "date", "effort", "seed", "call"):
        assert set(rows[column]) == {getattr(MADE, column)}
    assert set(five["broken"].to_frame()["call"]) == {""}  # nobody said


def test_evidence_in_a_frame_is_json(five):
    [text] = five["expo"].to_frame().query("desideratum == 'existence'")["evidence"]
    evidence = json.loads(text)
    assert evidence["problems tried"] == 12000
    assert evidence["policy at the smallest λ"] == [0.6, 0.3, 0.1]
    assert evidence["slope of log distance"] is None  # nan is not JSON
    assert "\n" not in text and ": " not in text and "λ" in text


def test_cards_keep_their_order_and_refuse_a_name_twice(five):
    assert list(five) == [*FAILED, HOSTILE, "broken"]
    assert list(five.to_frame()["loss"].unique()) == list(five)
    assert len(five.to_frame()) == len(five) * len(DESIDERATA)
    with pytest.raises(ValueError, match="different names, got 'dpo' twice"):
        ReportCards([card("dpo"), card("dpo")])
    assert list(ReportCards([]).to_frame()) == list(COLUMNS)


def test_dictionary_has_the_promised_shape_and_is_json(five):
    document = json.loads(json.dumps(five.to_dict(), allow_nan=False))
    assert set(document) == {"losses", "remarks", "made"}
    assert document["made"]["dpo"] == {
        "version": "0.1.0",
        "date": "2026-01-31",
        "effort": 0.5,
        "seed": 3,
        "call": MADE.call,
    }
    assert document["made"]["broken"] is None
    assert document["losses"]["dpo"]["preservation"]["severity"] == {
        "unit": "TV",
        "share": 0.9,
        "typical": 0.31,
        "worst": 1.2,
        "of": "ordinary problems",
    }
    assert list(document["losses"]) == list(document["remarks"]) == list(five)
    for name, verdicts in document["losses"].items():
        assert list(verdicts) == list(DESIDERATA)
        for key, verdict in verdicts.items():
            assert set(verdict) == {
                "verdict",
                "basis",
                "rule",
                "answer",
                "severity",
                "summary",
                "conditions",
                "evidence",
                "counterexample",
            }
            assert verdict["verdict"] == five[name].verdicts[key].decision
            assert (verdict["counterexample"] is not None) == (verdict["verdict"] == "fails")
    assert document["losses"]["dpo"]["preservation"]["counterexample"]["code"] == CODE
    assert document["remarks"]["broken"] == list(five["broken"].remarks)
    assert document["remarks"]["dpo"] == []


# ------------------------------------------------------------------------------------------------------------- wording


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (True, "yes"),
        (12000, "12,000"),
        (-3, "-3"),
        (0.1 + 0.2, "0.3"),
        (2.3456789e-13, "2.346e-13"),
        (123456.7, "123,457"),
        (0.0, "0"),
        ([0.6, 0.3, None], "(0.6, 0.3, –)"),
        ({"n": 2, "policy": [0.25, 0.75]}, "n: 2; policy: (0.25, 0.75)"),
        ("as it is", "as it is"),
    ],
)
def test_numbers_are_readable(value, text):
    assert readable(value) == text


def test_signs_and_marks_tell_verdicts_apart():
    assert list(SIGNS) == [HOLDS, FAILS, NOT_APPLICABLE, CANNOT_TELL]
    assert len(set(SIGNS.values())) == 4
    assert len(legend()) == 8 and len(set(legend().values())) == 8
    assert len({entry[:3] for entry in LEGEND}) == len(LEGEND)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        *((5.6, "5.6"), (0.12, ".12"), (0.994, ".99"), (0.996, "1"), (9.96, "10"), (12.3, "12"), (99.4, "99")),
        *(
            (250.0, ">99"),
            (6e16, ">99"),
            (0.0099, "1e-2"),
            (0.01, ".01"),
            (2e-7, "2e-7"),
            (0.0, ""),
            (np.nan, ""),
            (np.inf, ""),
        ),
    ],
)
def test_numbers_in_cells_are_brief(size, text):
    assert brief(size) == text and len(text) <= 4


@pytest.mark.parametrize(
    ("share", "typical", "how", "shown"),
    [
        (0.83, 5.6, OFTEN, "5.6"),
        (0.1, 0.01, OFTEN, ".01"),
        (1.0, 2e-7, SELDOM, ""),  # everywhere, and yet nothing that anybody would notice
        (0.05, 0.3, SELDOM, ".30"),
        (0.0, 0.0, CONSTRUCTED, ""),
        (np.nan, np.nan, SELDOM, ""),
        (None, None, SELDOM, ""),
    ],
)
def test_failures_weigh_by_share_and_size(share, typical, how, shown):
    """2e-7 nats at a lambda of 1e6 and 5.6 nats at 0.1 do not look alike."""
    assert weight(share, typical) == how and shown_size(share, typical, "TV") == shown
    assert shown_size(share, typical, "") == ""  # yes or no has no size


def test_marks_say_basis_and_weight():
    example = Counterexample("it does", {}, "")

    def fails(basis, severity):
        return Verdict("existence", FAILS, "", "", {}, example, basis=basis, severity=severity)

    assert mark(fails("proven", Severity("nats", 0.5, 5.6, 6.0))) == "✗!"
    assert mark(fails("evidence", Severity("nats", 0.0, 0.0, 2e-7))) == "x°"
    assert mark(fails("proven", None)) == "✗"
    holds = Verdict("existence", HOLDS, "", "", basis="evidence", answer="its\nmode")
    assert (mark(holds), decided(holds)) == ("v", "holds, by search: its mode")
    proven = Verdict("existence", HOLDS, "", "", basis="proven", rule="slopes")
    assert (mark(proven), decided(proven)) == ("✓", "holds, proven (slopes)")
    assert mark(Verdict("existence", CANNOT_TELL, "", "")) == "?"


def test_columns_stand_by_groups_whatever_their_number(monkeypatch):
    for key, desideratum in more_desiderata().items():
        monkeypatch.setitem(DESIDERATA, key, desideratum)
    groups = grouped()
    assert sorted(key for keys in groups.values() for key in keys) == sorted(DESIDERATA)
    for group, keys in groups.items():
        assert {DESIDERATA[key].group for key in keys} == {group}
        assert keys == sorted(keys, key=list(DESIDERATA).index)
    assert next(iter(groups)) == "where λ leads" and groups["where λ leads"][-1] == "question_1"
    assert grouped(["question_2", "existence"]) == {"a minimiser": ["existence"], "a group of one": ["question_2"]}


def test_losses_with_the_most_that_holds_come_first():
    found = {
        "worst": [(FAILS, OFTEN), (FAILS, OFTEN)],
        "loud": [(HOLDS, SELDOM), (FAILS, OFTEN)],
        "first of two": [(HOLDS, SELDOM), (FAILS, SELDOM)],
        "second of two": [(FAILS, SELDOM), (HOLDS, SELDOM)],
        "silent": [(HOLDS, SELDOM), (CANNOT_TELL, SELDOM)],
        "best": [(HOLDS, SELDOM), (HOLDS, SELDOM)],
    }
    assert ranked(found) == ["best", "silent", "first of two", "second of two", "loud", "worst"]


def test_a_card_says_how_it_was_made(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1769900000")
    loss = ea.DPO(0.1, label_smoothing=0.2)
    found = ea.audit(loss, effort=0.01, seed=2, only="first_step")
    made = found.made
    assert made == provenance(
        "ea.audit(ea.DPO(0.1, label_smoothing=0.2), effort=0.01, seed=2, only=['first_step'])", 0.01, 2
    )
    assert (made.version, made.date) == (ea.__version__, "2026-01-31")
    again = eval(made.call, {"ea": ea})
    assert again.to_frame().equals(found.to_frame())
    assert "expo_analysis " in str(made) and "2026-01-31, effort 0.01, seed 2: ea.audit(" in str(made)


# ------------------------------------------------------------------------------------------------------------ Markdown


def rows_of(markdown):
    """The cells of every line of a table, split at the pipes that are not escaped."""
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_markdown_table_of_many_losses_has_a_mark_in_every_cell(five):
    head, rule, *rows = rows_of(five.to_markdown())
    assert len(head) == len(rule) == 1 + len(DESIDERATA)
    assert [re.sub(r"\\(.)", r"\1", text) for text in head[1:]] == [DESIDERATA[key].title for key in COLUMN_ORDER]
    assert len(rows) == len(five)
    for row, one in zip(rows, five.ranked(), strict=True):
        assert [text.replace("\\", "") for text in row[1:]] == [mark(one.verdicts[key]) for key in COLUMN_ORDER]
    assert [row[0] for row in rows[:2]] == ["expo", "regression_expo"] and rows[-1][0] == "broken"
    for one, words in legend().items():
        assert f"- {one} {words}" in five.to_markdown()
    assert ORDINARY in five.to_markdown()


def test_markdown_says_where_each_loss_fails_and_how_much(five):
    text = five.to_markdown()
    statements = re.findall(r"^- [✗x][!°]? .*: On π", text, flags=re.M)
    assert len(statements) == sum(map(len, FAILED.values())) + len(FAILED["dpo"])  # HOSTILE fails as DPO does
    assert "- ✗! preserves π\\* (0.31 TV on 90% of ordinary problems, 1.2 at worst): On π" in text
    assert "- ✗° improves on π_ref (never on ordinary problems; 2e-07 at worst (nats)): On π" in text
    assert "- remark: ValueError: it returns one number for 7 pairs" in text
    assert text.endswith("effort 0.5, seed 3: expo-analysis audit --all \\| tee \\<x\\>\n")


def test_markdown_of_one_loss_shows_everything(five):
    text = five["dpo"].to_markdown()
    for key, verdict in five["dpo"].verdicts.items():
        plain_text = re.sub(r"\\(.)", r"\1", text)
        assert f"## {DESIDERATA[key].title}: {decided(verdict)}" in plain_text
        assert verdict.severity is None or f"How much: {verdict.severity}" in plain_text
        assert f"*{DESIDERATA[key].question}*" in plain_text
        assert verdict.summary in plain_text and verdict.conditions in plain_text
    assert text.count(f"```python\n{CODE}```") == len(FAILED["dpo"])
    assert ["largest error bound", "2.346e-13"] in rows_of(text)


def test_markup_in_a_name_is_text_in_markdown():
    text = ReportCards([card(HOSTILE, "dpo")]).to_markdown()
    assert not re.search(r"(?<!\\)<", text)
    assert rows_of(text)[2][0].startswith(r"\<script\>")
    assert len(rows_of(text)[2]) == 1 + len(DESIDERATA)  # its pipe does not begin a cell
    assert "\\*x\\*" in text


def test_code_with_backticks_stays_in_its_block():
    verdict = Verdict("existence", FAILS, "no", "any", {}, Counterexample("it does", {}, 'x = """\n```\nbold\n"""'))
    text = ReportCard("x", None, {"existence": verdict}, (), path("dpo"), 0.0).to_markdown()
    assert "Made by" not in text
    assert re.search(r'````python\nx = """\n```\nbold\n"""\n````\n$', text)


def test_an_underscore_inside_a_word_stays_readable():
    assert "regression_expo" in cards("regression_expo").to_markdown()


# ---------------------------------------------------------------------------------------------------------------- HTML


class Page(HTMLParser):
    """Tags, texts and attributes of a page; refuses one whose tags do not match."""

    VOID = ("meta", "br", "hr", "wbr", "line", "polygon", "polyline", "circle", "path")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        if self.open and data.strip():
            self.texts.append((self.open[-1], data.strip()))

    def all(self, tag, **attributes):
        return [found for name, found in self.tags if name == tag and attributes.items() <= found.items()]

    def in_(self, tag):
        return [text for inside, text in self.texts if inside == tag]


@pytest.fixture(scope="module")
def page(five):
    return Page(five.to_html())


def test_html_is_one_file(five):
    text = five.to_html()
    assert text.startswith("<!doctype html>\n")
    assert not re.search(r"https?://|@import|url\(|<link|<img|<iframe| src=", text)
    for tag, attributes in Page(text).tags:
        assert attributes.get("href", "#").startswith("#"), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes)


def test_html_escapes_whatever_a_user_may_have_written():
    evil = "<img src=x onerror=alert(1)>"
    verdict = Verdict(
        "existence",
        FAILS,
        f"{evil} summary",
        f"{evil} conditions",
        {f"{evil} name": f"{evil} value"},
        Counterexample(f"{evil} statement", {}, f"print('{evil}')"),
    )
    hostile = ReportCard(HOSTILE, None, {"existence": verdict}, (f"{evil} remark",), path("dpo"), 0.0)
    for made in (ReportCards([hostile]), ReportCards([hostile, card("expo")])):
        found = Page(made.to_html())
        assert not found.all("img")
        assert len(found.all("script")) == 1  # the page's own
        assert not any("alert" in text for text in found.in_("script"))
        assert HOSTILE in found.in_("h2")
        everything = " ".join(text for _, text in found.texts)
        assert everything.count(evil) == 7


CELL = re.compile(
    r'<td class="([a-z -]+?)( first)?"><a href="#([\w-]+)" title="([^"]*)"><span class="sign ?(\w*)" '
    r'aria-hidden="true">(.)</span>'
    r'(?:<span class="size" aria-hidden="true">([^<]*)</span>)?<span class="hidden">([^<]*)</span></a></td>'
)


def test_html_table_has_words_and_a_sign_in_every_cell(five, page):
    heads = page.in_("th")
    assert heads[:2] == ["loss", "where λ leads"] and len(page.all("th", scope="colgroup")) == len(grouped())
    assert [text for inside, text in page.texts if text in {d.title for d in DESIDERATA.values()}][
        : len(DESIDERATA)
    ] == [DESIDERATA[key].title for key in COLUMN_ORDER]
    expected = []
    for k, one in enumerate(five.ranked(), start=1):
        for key in COLUMN_ORDER:
            verdict = one.verdicts[key]
            decision = verdict.decision.replace(" ", "-")
            fails = verdict.decision == FAILS
            size = verdict.severity
            number = "" if size is None else shown_size(size.share, size.typical, size.unit)
            classes = f"{decision} {weight_of(verdict)}" if fails else decision
            basis = verdict.basis if verdict.decision in (HOLDS, FAILS) else ""
            words = decided(verdict) if size is None else f"{decided(verdict)}; {size}"
            expected.append((classes, f"loss-{k}-{key}", words, basis, SIGNS[verdict.decision], number, words))
    found = [
        (a, link, unescape(title), basis, sign, number, unescape(words))
        for a, _, link, title, basis, sign, number, words in CELL.findall(five.to_html())
    ]
    assert found == expected
    assert [one.name for one in five.ranked() if one.name in page.in_("a")] == [one.name for one in five.ranked()]
    assert len([first for _, first, *_ in CELL.findall(five.to_html()) if first]) == len(five) * len(grouped())


def test_a_page_has_as_many_columns_as_there_are_desiderata(monkeypatch):
    for key, desideratum in more_desiderata().items():
        monkeypatch.setitem(DESIDERATA, key, desideratum)
    made = many(4)
    found = Page(made.to_html())
    assert len(CELL.findall(made.to_html())) == 4 * len(DESIDERATA)
    assert {"a group of one", "where λ leads"} <= set(found.in_("th"))
    assert f"judged on {len(DESIDERATA)} desiderata" in " ".join(" ".join(found.in_("p")).split())


def test_every_link_of_a_page_leads_somewhere_and_no_id_is_given_twice(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {attributes["href"][1:] for attributes in page.all("a")}
    assert len(targets) > 5 * len(DESIDERATA) and targets <= set(ids)
    assert {attributes["aria-labelledby"] for _, attributes in page.tags if "aria-labelledby" in attributes} <= set(ids)


def test_html_shows_all_that_was_found(five, page):
    everything = "\n".join(text for _, text in page.texts)
    for one in five.values():
        for verdict in one.verdicts.values():
            assert verdict.summary in everything and verdict.conditions in everything
            if verdict.counterexample is not None:
                assert verdict.counterexample.statement in everything
        assert all(remark in everything for remark in one.remarks)
    failures = sum(verdict.decision == FAILS for one in five.values() for verdict in one.verdicts.values())
    assert page.in_("code") == [CODE.strip()] * failures
    for desideratum in DESIDERATA.values():
        assert page.texts.count(("p", desideratum.question)) == len(five)
    assert {"12,000", "2.346e-13", "(0.6, 0.3, 0.1)", "–", "yes"} <= set(page.in_("td"))
    for decision, *_, meaning in LEGEND:
        assert meaning in page.in_("dd") and decision in page.in_("span")
    assert f"Made by {MADE}" in page.in_("p") and any(ORDINARY in text for text in page.in_("p"))
    assert "0.31 TV on 90% of ordinary problems, 1.2 at worst" in everything
    assert {", proven (a_theorem): its <mode>", ", by search"} <= set(page.in_("span"))


def test_a_page_for_one_loss_lists_its_desiderata_downwards(five):
    found = Page(five["dpo"].to_html())
    assert found.in_("h1") == ["Report card: dpo"]
    links = [attributes["href"] for attributes in found.all("a")]
    assert links[: len(DESIDERATA)] == [f"#loss-1-{key}" for key in COLUMN_ORDER]
    assert found.in_("th")[:4] == ["desideratum", "verdict", "how much", "where λ leads"]
    assert "never on ordinary problems; 2e-07 at worst (nats)" in found.in_("td")


def test_a_page_for_a_broken_loss_says_so_and_draws_nothing():
    found = Page(broken("broken", "ValueError: it must not reduce").to_html())
    assert "ValueError: it must not reduce" in found.in_("li")
    assert not found.all("svg")
    assert "No exact optima were found that could be drawn." in found.in_("p")


def test_a_verdict_that_is_missing_leaves_an_empty_cell():
    partial = ReportCard("partial", None, {}, (), path("dpo"), 0.0)
    made = ReportCards([partial, broken("broken", "it is")])
    assert re.sub(" first", "", made.to_html()).count('<td class="not-applicable"></td>') == len(DESIDERATA)
    assert rows_of(made.to_markdown())[2] == ["partial", *[""] * len(DESIDERATA)]
    assert list(ReportCards([partial]).desiderata()) == []


def test_only_what_was_judged_has_a_column():
    verdicts = {key: card("dpo").verdicts[key] for key in ("existence", "improvement")}
    two = ReportCards(ReportCard(name, None, verdicts, (), path("dpo"), 0.0) for name in ("x", "y"))
    assert rows_of(two.to_markdown())[0] == ["loss", "improves on π_ref", "exists on any data"]
    found = Page(two.to_html())
    assert len(found.all("th", scope="col")) == 3
    assert "judged on 2 desiderata" in " ".join(" ".join(found.in_("p")).split())


def luminance(colour):
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return np.dot([0.2126, 0.7152, 0.0722], linear)


def contrast(first, second):
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


WEIGHED = (OFTEN, SELDOM, CONSTRUCTED)
PAIRED = ("holds", "fails", "cannot-tell", *WEIGHED)
"""Inks that are seen on a fill of their own; a filled sign has them the other way round."""


@pytest.mark.parametrize("scheme", [0, 1])
def test_failures_differ_in_lightness(five, scheme):
    """The more they weigh the more they stand out from the page, in grey too."""
    blocks = re.findall(r":root \{(.*?)\}", five.to_html(), flags=re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", blocks[scheme]))
    often, seldom, constructed = (contrast(colours["paper"], colours[f"{how}-back"]) for how in WEIGHED)
    assert often > 1.2 * seldom > 1.3 * constructed


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_has_enough_contrast_in_both_schemes(five, scheme):
    blocks = re.findall(r":root \{(.*?)\}", five.to_html(), flags=re.DOTALL)
    assert len(blocks) == 2
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", blocks[scheme]))
    assert (luminance(colours["paper"]) > luminance(colours["ink"])) == (scheme == 0)
    pairs = [(name, f"{name}-back") for name in PAIRED]
    pairs += [(name, "paper") for name in ("holds", *WEIGHED)]  # the open sign of what was found by search
    pairs += [(ink, back) for ink in ("ink", "soft", "link") for back in ("paper", "shade")] + [("ink", "fails-back")]
    for ink, back in pairs:
        assert contrast(colours[ink], colours[back]) >= 4.5, (ink, back)


def test_paper_is_light_and_nothing_is_hidden_or_cut_off_on_it(five):
    text = five.to_html()
    assert "@media screen and (prefers-color-scheme: dark)" in text  # so that it does not hold in print
    [printed] = re.findall(r"@media print \{(.*?)\n\}", text, flags=re.DOTALL)
    assert re.search(r"pre \{[^}]*white-space: pre-wrap", printed)
    assert re.search(r"details::details-content \{[^}]*content-visibility: visible", printed)
    assert re.search(r"\.scroll \{[^}]*overflow: visible; max-height: none", printed)


# ------------------------------------------------------------------------------------------------------------- simplex


def test_the_path_is_drawn_where_its_policies_are():
    given = path("dpo")
    drawn = drawing(given)
    top, left, right = map(np.array, drawn.corners)
    assert top[1] < left[1] == right[1] and left[0] < top[0] < right[0]
    expected = given[["y1", "y2", "y3"]].to_numpy() @ np.array([top, left, right])
    np.testing.assert_allclose(drawn.line, expected, atol=0.1)
    by_text = {label.text: label for label in drawn.ends}
    np.testing.assert_allclose(by_text["π*"].at, np.array([0.6, 0.3, 0.1]) @ [top, left, right], atol=0.1)
    np.testing.assert_allclose(by_text["π_ref"].at, np.array([0.4, 0.4, 0.2]) @ [top, left, right], atol=0.1)
    assert [label.text for label in drawn.marks] == ["λ = 0.1", "λ = 1", "λ = 10"]  # from above
    row = int(np.flatnonzero(np.isclose(given["lam"], 1.0))[0])
    assert drawn.marks[1].at == drawn.line[row]
    for x, y in [*drawn.line, *drawn.corners]:
        assert 0 < x < WIDTH and 0 < y < HEIGHT
    assert (drawn.start, drawn.stop) == ("(0.4, 0.4, 0.2) at λ = 1e+05", "(1, 0, 0) at λ = 1e-05")


def test_only_lambdas_on_the_path_are_marked_and_only_finite_policies_drawn():
    given = path("expo")
    given = given[~np.isclose(given["lam"], 1.0)].reset_index(drop=True)
    given.loc[0, "y1"] = np.nan
    drawn = drawing(given)
    assert sorted(label.text for label in drawn.marks) == ["λ = 0.1", "λ = 10"]
    assert len(drawn.line) == len(given) - 1
    assert drawing(given.assign(y2=np.nan)) is None
    assert drawing(pd.DataFrame()) is None


@pytest.mark.parametrize("heights", [(50.0, 50.0, 50.0), (50.0, 60.0, 200.0), (200.0, 50.0, 58.0)])
def test_labels_stay_apart_and_in_order(heights):
    labels = spread((str(lam), (100.0, y)) for lam, y in zip(MARKED, heights, strict=True))
    assert [label.at[1] for label in labels] == sorted(heights)
    assert (np.diff([label.y for label in labels]) >= LINE - 0.11).all()
    assert np.mean([label.y - label.at[1] for label in labels]) == pytest.approx(0, abs=0.1)


def test_a_loss_says_what_it_is():
    assert facts(ea.DPO(1.0, label_smoothing=0.25)) | {"definition": ""} == {
        "definition": "",
        "label_smoothing": "0.25",
        "robust": "no",
    }
    assert facts(ea.DPO(1.0))["definition"].startswith("Direct preference optimisation")
    qpo = ea.QPO(1.0, np.square, np.log)
    assert (facts(qpo)["psi"], facts(qpo)["mu"]) == ("square", "log")
    assert facts(ea.FDPO(1.0, divergence=ea.JensenShannon()))["divergence"] == "JensenShannon"
    assert facts(None) == {}


def test_a_card_is_one_line_where_it_is_printed():
    card = next(iter(cards().values()))
    found = [verdict.decision for verdict in card.verdicts.values()]
    assert repr(card).startswith(f"ReportCard({card.name!r}: {found.count('holds')} holds, ") and "\n" not in repr(card)
