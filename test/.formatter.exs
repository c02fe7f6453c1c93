# Tests are lists of cases: a case stays on its line.
[inputs: ["**/*.{ex,exs}"], line_length: 140]
