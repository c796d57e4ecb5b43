"""Making preference data: prompts of files, chat templates that add tokens, and caches that know what they hold."""

from __future__ import annotations

import gzip
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from . import llm_models as tiny
from .llm_texts import CHATML, END, EOS, START, byte_tokenizer, model_for, said, user

from expo_analysis.cli import app  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm import alpaca_eval  # isort: skip
from expo_analysis.llm.data import PreferenceData, journal, preferences, prompts, rewards, sampling  # isort: skip
from expo_analysis.llm.data.estimates import estimate  # isort: skip
from expo_analysis.llm.data.preferences import Settings  # isort: skip
from expo_analysis.llm.data.rewards import Reward  # isort: skip
from expo_analysis.llm.data.sampling import InverseTransform, Sampling  # isort: skip

LENGTH = Reward("length", lambda given, responses: [float(len(text)) for text in responses])
SETTINGS = Settings(responses=4, sampling=Sampling(6), batch_size=4)


def make(path: Path, given: list[Any], tokenizer: Any, policy: Any = None, **change: Any) -> preferences.Preferences:
    found, ids = prompts.tokenize(prompts.check_prompts(given, on_bad_rows="drop"), tokenizer, None)
    policy = model_for(tokenizer).eval() if policy is None else policy
    return preferences.make_preferences(policy, tokenizer, found, ids, LENGTH, SETTINGS, path, **change)


# -------------------------------------------------------------------------------------------------------------- prompts


def test_a_separator_is_no_end_of_a_line(tmp_path: Path) -> None:
    texts = ["first\u2028second", "next\x85line", "form\x0cfeed", "plain"]
    lines = "".join(json.dumps({"prompt": text}, ensure_ascii=False) + "\n" for text in texts)
    (tmp_path / "p.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "p.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(texts).encode())
    for name in ("p.jsonl", "p.jsonl.gz", "p.txt"):
        assert prompts.read_prompts(tmp_path / name).prompts == texts


def test_the_turns_of_mt_bench(tmp_path: Path) -> None:
    """FastChat's file of questions: each has the turns of a user, of which the second needs an answer to the first."""
    rows = [{"question_id": k, "category": "math", "turns": [f"Q{k}?", "And?"][: 1 + k % 2]} for k in range(4)]
    (tmp_path / "question.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = prompts.read_prompts(tmp_path / "question.jsonl", "turns")
    assert found.prompts == ["Q0?", "Q1?", "Q2?", "Q3?"] and not found.conversational
    assert found.report.remarks == {"have several turns, of which the first is the prompt": 2}
    assert found.said_by_user().prompts[0] == [user("Q0?")]


def test_prompts_have_the_forms_that_pairs_have() -> None:
    given = [
        [{"from": "human", "value": "Hi"}],
        [{"role": "user", "content": [{"type": "text", "text": "Ho"}]}],
        user("Ha"),
    ]
    found = prompts.check_prompts(given)
    assert found.prompts == [[user("Hi")], [user("Ho")], [user("Ha")]]
    assert found.report.remarks == {
        "have the role 'human', which is taken for 'user'": 1,
        "have messages with 'from' and 'value', which are taken for 'role' and 'content'": 1,
        "have messages whose content is a list of parts, which are put together": 1,
        "have a message in the place of a conversation, which is taken for all of it": 1,
    }
    for wrong, message in ((["a", "\ud800"], "row 1, prompt: its character 1 is half"), (["a", 7], "got a number, 7")):
        with pytest.raises(ValueError, match=message):
            prompts.check_prompts(wrong)


def test_the_first_prompts() -> None:
    found = prompts.check_prompts(["", "a", "", "b", "", "c"], on_bad_rows="drop")
    some = found.first(2)
    assert some.rows == [1, 3] and [problem.row for problem in some.dropped] == [0, 2]
    assert found.first(3) is found is found.first(None)
    with pytest.raises(ValueError, match=r"cannot be used: .*it has more tokens than the limit of 0"):
        prompts.tokenize(some, byte_tokenizer(), 0, "drop")  # none of them is left


def test_prompts_are_tokenized_as_pairs_are() -> None:
    """Beginning and end tokens included: what `PreferenceData` finds beside a text is what was sampled after it."""
    for tokenizer in (byte_tokenizer(), byte_tokenizer(begin=True, ends_itself=True)):
        for prompt, chosen, rejected in (("Hi", "a", "b"), ([user("Hi")], [said("a")], [said("b")])):
            _, ids = prompts.tokenize(prompts.check_prompts([prompt]), tokenizer, None)
            row = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
            data = PreferenceData.from_rows([row], tokenizer, name="x", max_length=None)
            assert ids[0] == data.rows[0]["prompt_ids"]
            given = row | {"prompt_ids": ids[0], "chosen_ids": [10], "rejected_ids": [11]}
            assert len(PreferenceData.from_rows([given], tokenizer, name="x", max_length=None)) == 1
    with pytest.raises(ValueError, match="prompts must be plain text for a tokenizer without a chat template"):
        prompts.tokenize(prompts.check_prompts([[user("Hi")]]), byte_tokenizer(None), None)


# ------------------------------------------------------------------------------------------------------- chat templates


def test_what_was_sampled_in_a_chat_is_what_is_trained_on(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    made = make(tmp_path / "j", [[user("Hi")], [user("Ho, ho")]], tokenizer)
    assert made.rows and made.counts["responses"] == 8
    data = PreferenceData.from_rows(made.rows, tokenizer, name="x", max_length=None)
    for row, trained in zip(made.rows, data.rows, strict=True):
        prompt = tokenizer.decode(trained["prompt_ids"])
        assert prompt == f"{START}user\n{row['prompt'][0]['content']}{END}\n{START}assistant\n"
        assert (trained["chosen_ids"], trained["rejected_ids"]) == (row["chosen_ids"], row["rejected_ids"])
        assert row["chosen"] == [said(tokenizer.decode(row["chosen_ids"], skip_special_tokens=True))]


def answers(path: Path, tokenizer: Any, asked: list[str]) -> list[dict[str, Any]]:
    model_for(tokenizer).save_pretrained(path / "model")
    tokenizer.save_pretrained(path / "model")
    (path / "asked.jsonl").write_text("".join(json.dumps({"instruction": text}) + "\n" for text in asked))
    arguments = [str(path / name) for name in ("model", "asked.jsonl", "outputs.json")]
    assert alpaca_eval.main([*arguments, "--max_new_tokens", "8"]) == 0
    return json.loads((path / "outputs.json").read_text())


@pytest.mark.parametrize("template", [CHATML, None], ids=["chat", "text"])
def test_instructions_are_asked_as_the_model_is_used_to(template: str | None, tmp_path: Path) -> None:
    """By the user where there is a chat template: the answers are those to exactly these tokens."""
    tokenizer, asked = byte_tokenizer(template), ["Hi", "Ho, ho"]
    found = answers(tmp_path, tokenizer, asked)
    policy = model_for(tokenizer).eval()
    texts = [f"{START}user\n{text}{END}\n{START}assistant\n" if template else text for text in asked]
    ids = [tokenizer(text)["input_ids"] for text in texts]
    rows = [(0, 0), (1, 0)]
    drawn = [sampling.draw(policy, [one], [row], Sampling(8, 0.7), [4])[0] for one, row in zip(ids, rows, strict=True)]
    wanted = [tokenizer.decode(one.ids, skip_special_tokens=True) for one in drawn]
    assert [row["output"] for row in found] == wanted and any(wanted)


def test_instructions_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content, message in (
        (
            '{"instruction": "a"}\n{"prompt": "b"}\n',
            "asked.jsonl: row 1 (line 2), instruction: it must be text, and not",
        ),
        ('{"instruction": "a"}\n{"instruction"\n', "asked.jsonl, line 2, column 15: it is not JSON"),
        ('{"instruction": " "}\n', "asked.jsonl: row 0 (line 1), instruction: it must be text, and not empty"),
    ):
        (tmp_path / "asked.jsonl").write_text(content)
        assert alpaca_eval.main(["nowhere", str(tmp_path / "asked.jsonl"), str(tmp_path / "o.json")]) == 2
        assert message in capsys.readouterr().err
    assert alpaca_eval.main(["nowhere", str(tmp_path / "none.json"), str(tmp_path / "o.json")]) == 2
    assert "none.json" in capsys.readouterr().err


def save_classifier(folder: Path, tokenizer: Any, seed: int = 0) -> str:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(
        vocab_size=len(tokenizer), num_key_value_heads=2, pad_token_id=0, initializer_range=0.5, num_labels=1, **sizes
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_reward_model_reads_the_conversation_through_its_template(tmp_path: Path) -> None:
    """The prompt's turns, the response as the assistant's, in this order, and with no token beside the template's."""
    from transformers import AutoModelForSequenceClassification

    tokenizer = byte_tokenizer(begin=True)
    name = save_classifier(tmp_path / "reward", tokenizer)
    scores = rewards.classifier(name, scored="both")([[user("Hi")], [user("Ho")]], ["yes", "no, no"])
    network = AutoModelForSequenceClassification.from_pretrained(name).eval()
    for asked, response, score in (("Hi", "yes", scores[0]), ("Ho", "no, no", scores[1])):
        text = f"{START}user\n{asked}{END}\n{START}assistant\n{response}{END}\n"
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            logit = float(network(ids).logits)
        assert logit == pytest.approx(score, abs=1e-5)
    alone = rewards.classifier(name, scored="response")([[user("Hi")]] * 2, ["yes", "no, no"])
    plain = rewards.classifier(name, scored="both")(["Hi ", "Ho "], ["yes", "no, no"])
    assert len({round(float(value), 4) for values in (scores, alone, plain) for value in values}) == 6


def test_scores_of_another_reward_model_are_others(tmp_path: Path) -> None:
    """A folder of the same name may hold other weights, or another template, tomorrow."""
    names = set()
    for seed, template in ((0, CHATML), (1, CHATML), (0, None), (0, CHATML)):
        shutil.rmtree(tmp_path / "r", ignore_errors=True)
        names.add(rewards.classifier(save_classifier(tmp_path / "r", byte_tokenizer(template), seed)).name)
    assert len(names) == 3 and all(name.startswith(f"logit by {tmp_path / 'r'} (") for name in names)


# --------------------------------------------------------------------------------------------------------------- caches


def changed(policy: Any, name: str, place: int) -> str:
    """The digest of a model of which one number is another."""
    tensor = policy.state_dict()[name].view(-1)
    before = tensor[place].clone()
    tensor[place] += 1e-3
    found = journal.weights_digest(policy)
    tensor[place] = before
    return found


def test_a_digest_is_of_every_weight() -> None:
    policy = model_for(byte_tokenizer())
    own = journal.weights_digest(policy)
    rng = np.random.default_rng(0)
    digests = {own}
    for name, tensor in policy.state_dict().items():
        digests.add(changed(policy, name, int(rng.integers(tensor.numel()))))
    assert len(digests) == len(policy.state_dict()) + 1 and journal.weights_digest(policy) == own
    assert journal.weights_digest(policy.to(torch.bfloat16)) != own


class Weights(torch.nn.Module):
    def __init__(self, as_buffer: bool = False, **shapes: tuple[int, ...]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            values = torch.arange(math.prod(shape), dtype=torch.float32).reshape(shape)
            if as_buffer:
                self.register_buffer(name, values)
            else:
                self.register_parameter(name, torch.nn.Parameter(values))


def test_a_digest_is_of_names_and_shapes() -> None:
    models = [Weights(a=(2, 3)), Weights(a=(3, 2)), Weights(b=(2, 3)), Weights(a=(2, 3), b=()), Weights(a=(6,))]
    assert len({journal.weights_digest(one) for one in models}) == len(models)
    assert journal.weights_digest(Weights(a=(2, 3), as_buffer=True)) == journal.weights_digest(models[0])


PROMPTS = ["Hi", "Ho, ho", "Ha"]


@pytest.mark.parametrize("what", ["rows", "texts", "tokenizer", "config", "weights"])
def test_responses_of_another_origin_are_not_taken(what: str, tmp_path: Path) -> None:
    """Each case has the same prompt tokens as before, and would find the journal's numbers."""
    tokenizer = byte_tokenizer()
    policy = model_for(tokenizer).eval()
    make(tmp_path / "j", PROMPTS, tokenizer, policy)
    given, named = list(PROMPTS), what
    if what == "rows":  # a row that is left out before them: what was row 0 is row 1 now
        given, named = ["", *PROMPTS], "prompts"
    elif what == "texts":  # as a text that is another to the reward, and the same to the model
        given = [[user(text)] for text in PROMPTS]
        tokenizer.chat_template = "{{ messages[0]['content'] }}"
        named = "tokenizer"
    elif what == "tokenizer":
        tokenizer = byte_tokenizer(merges=[("q", "q")])
    elif what == "config":
        policy.config.rope_parameters = {**policy.config.rope_parameters, "rope_theta": 77.0}
    else:
        with torch.no_grad():
            policy.lm_head.weight[-1, 5] += 1e-4
    with pytest.raises(journal.JournalError, match=f"sampled otherwise: .*{named} '"):
        make(tmp_path / "j", given, tokenizer, policy)


def test_what_does_not_matter_is_taken(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    policy = model_for(tokenizer).eval()
    first = make(tmp_path / "j", PROMPTS, tokenizer, policy)
    policy.save_pretrained(tmp_path / "model")
    again = make(tmp_path / "j", PROMPTS, tokenizer, tiny.LlamaForCausalLM.from_pretrained(tmp_path / "model").eval())
    assert again.rows == first.rows and again.counts["this_run"]["responses_sampled"] == 0


# -------------------------------------------------------------------------------------------------------------- numbers


def test_a_sampler_draws_from_the_model_itself_by_default() -> None:
    """Of (0.5, 0.3, 0.2), at u = 0.45 the first is drawn, and at temperature 2 the second."""
    scores = torch.tensor([[0.5, 0.3, 0.2]]).log()
    for uniform, token in ((0.45, 0), (0.55, 1), (0.79, 1), (0.81, 2), (0.999, 2)):
        drawn = InverseTransform(torch.tensor([[uniform]], dtype=torch.float64))(torch.zeros(1, 1), scores)
        assert int(drawn.argmax()) == token
    tempered = InverseTransform(torch.tensor([[0.45]], dtype=torch.float64), temperature=2.0)(torch.zeros(1, 1), scores)
    assert int(tempered.argmax()) == 1  # 0.42, 0.32, 0.26


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_value_that_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match=r"values must be finite and of shape \(prompts, responses\)"):
        estimate([[1.0, 2.0], [3.0, bad]])
    assert estimate([[1.0, 2.0], [3.0, 4.0]]).mean == 2.5


def test_the_command_says_what_it_changed(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    model_for(tokenizer).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "q.jsonl").write_text('{"turns": ["Hi", "And?"]}\n{"turns": [""]}\n{"turns": ["Ho"]}\n')
    arguments = ["--model", str(tmp_path / "model"), "--prompts", str(tmp_path / "q.jsonl"), "--column", "turns"]
    arguments += ["-o", str(tmp_path / "pairs.jsonl"), "--reward", "reference", "--chat", "--max-new-tokens", "4"]
    done = CliRunner().invoke(app, ["preferences", *arguments])
    assert (
        done.exit_code == 2
        and "q.jsonl has rows that cannot be used: row 1 (line 2), turns: it is empty" in done.stderr
    )
    done = CliRunner().invoke(app, ["preferences", *arguments, "--on-bad-rows", "drop"])
    assert done.exit_code == 0, done.stderr
    assert "1 of 3 rows have several turns, of which the first is the prompt (first: row 0 (line 1))" in done.stderr
    assert "row 1 (line 2), turns: it is empty (1 of 3 rows); these rows are left out" in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert {row["prompt_index"] for row in rows} <= {0, 2} and rows[0]["prompt"] == [user("Hi")]
    data = PreferenceData.read(tmp_path / "pairs.jsonl", tokenizer, max_length=64)
    assert [row["chosen_ids"] for row in data.rows] == [row["chosen_ids"] for row in rows]
    assert EOS  # the texts of sampled bytes need not be text, and their tokens are what is trained on


def test_how_fast_was_sampled() -> None:
    found = journal.Work(responses=3, tokens=30, seconds=4.0).to_dict()
    assert (found["tokens_per_second"], found["sampling_seconds"], found["responses_sampled"]) == (7.5, 4.0, 3)
    assert journal.Work().to_dict()["tokens_per_second"] is None


def test_a_reward_is_tried_on_two_responses_to_one_prompt() -> None:
    seen = []

    def score(prompts: list[Any], responses: list[str]) -> list[float]:
        seen.append((list(prompts), list(responses)))
        return [0.0] * len(responses)

    Reward("a", score).try_out(["first", "second"])
    assert seen == [(["first", "first"], ["It is good.", ""])]
