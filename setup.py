"""The one thing that setup.cfg cannot say: what is compiled. Without a C compiler the package does without it."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "expo_analysis.optima._kernel",  # see expo_analysis/optima/kernel.py
            ["expo_analysis/optima/_kernel.c"],
            extra_compile_args=["-O3", "-ffp-contract=off"],
            optional=True,
        )
    ]
)
