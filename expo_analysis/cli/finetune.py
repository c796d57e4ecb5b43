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
      expo-analysis finetune --config smollm2_sentiment --objective dpo --lam 0.05 --output_dir dpo
      expo-analysis finetune --model smollm2 --dataset_name pairs.jsonl --objective ipo --output_dir ipo
      expo-analysis finetune --config smollm2_sentiment --resume
      accelerate launch --config_file $(expo-analysis recipes ddp) --num_processes 4 \\
        -m expo_analysis.llm.finetune --config recipe.yaml

    \b
    --config is a YAML file of settings, or the name of a recipe of this package (expo-analysis
    recipes lists them). Settings on the command line override it, as --SETTING VALUE.

    \b
    Model, data and output:
      --model NAME              smollm2 (needs no internet), a folder of a model or of an adapter,
                                or a model of the Hub
      --dataset_name NAME       a .jsonl, .json, .csv, .tsv or .parquet file, a folder, or a data set of the Hub
      --columns TEXT            which column is what: prompt=question,chosen=a,rejected=b
      --preparation NAME        how raw data become pairs: hh or ultrafeedback
      --max_train_rows N        train on at most N rows, the first
      --on_bad_rows HOW         rows that cannot be trained on: error, or drop to leave them out
      --optimal_dataset NAME    pairs on which the first step's gradient is measured
      --output_dir DIRECTORY    for checkpoints, the model, run.json and summary.json
      --resume                  resume from the newest complete checkpoint
      --overwrite               start afresh although output_dir has a model or checkpoints
      --json                    print the summary as one JSON document

    \b
    Loss:
      --objective NAME          a loss of the catalogue (expo-analysis losses lists them), or
                                FILE.py:NAME; several are summed; expo by default
      --objective_weights W...  weights of several losses
      --objective_options JSON  options of the loss, such as '{"label_smoothing": 0.1}'
      --lam, --beta NUMBER      the trade-off lambda; 0.1 by default
      --aggregation HOW         from tokens to responses: sum or mean; by default as the loss's
                                paper has it
      --use_weighting, --ld_alpha, --router_aux_loss_coef
                                weights of pairs (WPO), of long responses' tokens (LD-DPO), and of
                                the load-balancing loss of mixtures of experts

    \b
    EXPO's regulariser, and the reference:
      --regulariser_estimator NAME
                                token_kl, own_responses, reference_samples or token_divergence
      --token_prefixes, --token_chunk_size
                                what token-wise estimators are computed along, and their memory
      --precompute_ref_log_probs, --precompute_ref_batch_size, --use_ref_columns
                                the reference's log-probabilities, computed beforehand or given
      --sync_ref_model, --ref_model_mixup_alpha, --ref_model_sync_steps
                                a reference that follows the policy (TR-DPO)

    \b
    The model, tokens and training, where they are not as in transformers:
      --model_init_kwargs JSON, --trust_remote_code, --disable_dropout
      --max_length N, --pad_to_multiple_of N, --dataset_num_proc N
      --learning_rate, --logging_steps, --gradient_checkpointing, --bf16, --logging_nan_inf_filter
    and all of transformers' TrainingArguments, and TRL's ModelConfig (--use_peft, --lora_r,
    --load_in_4bit, ...) and DatasetMixtureConfig: --list_options explains each setting.

    \b
    Ctrl-C and SIGTERM save a checkpoint after the step that is under way, and end with exit code
    130 and 143. The exit code is 1 for a loss that is not finite, and 2 for bad input.
    accelerate launch runs one process on a machine without GPUs unless it is given --multi_gpu
    or the file of recipes ddp; the summary says how many there were.
    """
    with bad_input(), language_models():
        from ..llm.finetune import main
    raise typer.Exit(main(context.args))
