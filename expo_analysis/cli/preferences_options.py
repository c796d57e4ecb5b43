"""The options of ``expo-analysis preferences``, each with its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def _option(help: str, *names: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, metavar=metavar, help=help)


PromptFile = Annotated[
    str,
    _option("Prompts: a file of JSON, CSV, TSV, parquet or one a line (.txt), or 'sentiment'.", metavar="FILE"),
]
Output = Annotated[Path, _option("The data set to write, .jsonl or .parquet.", "--output", "-o", metavar="FILE")]
Model = Annotated[str, _option("The reference: smollm2, a folder, or a model of the Hub.", metavar="NAME")]
RewardName = Annotated[str, _option("vader, classifier:NAME, FILE.py:FUNCTION, or reference.", metavar="NAME")]
RewardLabel = Annotated[str | None, _option("Which label of the classifier is rewarded.", metavar="LABEL")]
Scored = Annotated[
    str, _option("What vader and a classifier read: response or both (with its prompt).", metavar="WHAT")
]
Responses = Annotated[int, _option("Responses to compare, for each prompt.", metavar="K")]
ReferenceSamples = Annotated[
    int, _option("Further responses for each prompt, for EXPO's estimator of that name.", metavar="N")
]
MaxNewTokens = Annotated[int, _option("Responses are cut after this many tokens.", metavar="N")]
Temperature = Annotated[float, _option("Temperature of sampling; 1 draws from the reference itself.", metavar="NUMBER")]
TopP = Annotated[
    float, _option("Draw from the fewest tokens with this probability; 1 draws from all.", metavar="NUMBER")
]
Pairs = Annotated[str, _option("Pairs to label, for each prompt: a number, or all.", metavar="N")]
LabelTemperature = Annotated[
    float, _option("Temperature of the labels: the higher, the nearer they are to coin flips.", metavar="NUMBER")
]
ReferenceShare = Annotated[float, _option("Label this share of the prompts by the reference itself.", metavar="SHARE")]
Seed = Annotated[int, _option("Seed of all random numbers.", metavar="N")]
Column = Annotated[str, _option("The column with the prompts.", metavar="NAME")]
Chat = Annotated[bool, _option("Take plain prompts for messages of a user.", "--chat")]
Limit = Annotated[int | None, _option("Use the first N prompts only.", metavar="N")]
MaxPromptLength = Annotated[
    int | None, _option("The most tokens of a prompt. Default: what the model has room for.", metavar="N")
]
OnBadRows = Annotated[str, _option("Prompts that cannot be used: error, or drop to leave them out.", metavar="HOW")]
BatchSize = Annotated[int, _option("Responses to sample at a time.", metavar="N")]
DType = Annotated[str, _option("Type of the weights: float32, bfloat16, float16.", metavar="TYPE")]
Device = Annotated[str | None, _option("Default: cuda where there is one.", metavar="NAME")]
Restart = Annotated[bool, _option("Throw away what an earlier run has sampled.", "--restart")]
AsJson = Annotated[bool, _option("Print settings and counts as one JSON document.", "--json")]
