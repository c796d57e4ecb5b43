"""``expo-analysis finetune``."""

from __future__ import annotations

import typer

from .errors import bad_input, language_models

SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
"""Options are those of a recipe, which the language-model room knows; they are passed on as they are."""


def finetune(context: typer.Context) -> None:
    """Fine-tune a language model with any pairwise loss, from a recipe.

    \b
    Examples:
      expo-analysis finetune --config smollm2_sentiment
      expo-analysis finetune --config smollm2_sentiment --objective dpo --beta 0.05 --output_dir dpo
      expo-analysis finetune --config smollm2_sentiment --resume
      accelerate launch --multi_gpu --num_processes 4 -m expo_analysis.llm.finetune --config recipe.yaml

    \b
    --config is a YAML file, or the name of a recipe of this package: smollm2_sentiment,
    hh_pythia_2.8b, imdb_gpt2_large, ultrafeedback_llama3_8b. Flags override it:
      --model NAME            smollm2 (needs no internet), a folder, or a model of the Hub
      --dataset_name NAME     a .jsonl, .csv or .parquet file, a folder, or a data set of the Hub,
                              with the columns prompt, chosen and rejected
      --objective NAME        a loss of the catalogue, such as expo, dpo or ipo; --beta is lambda
      --output_dir DIRECTORY  for checkpoints, the model, and summary.json
      --resume                go on from the newest complete checkpoint
      --json                  print the summary as one JSON document
    and every other setting of TRL's DPOConfig, ModelConfig and DatasetMixtureConfig, and of
    PreferenceConfig: --list_options shows them all.

    accelerate launch runs one process on a machine without GPUs unless it is given --multi_gpu;
    the summary says how many there were. SIGTERM saves a checkpoint, and ends with exit code 143.
    """
    with bad_input(), language_models():
        from ..llm.finetune import main
    raise typer.Exit(main(context.args))
