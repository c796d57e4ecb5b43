"""Desiderata of preference losses, one a file, each judged with evidence; together they make the report card."""
