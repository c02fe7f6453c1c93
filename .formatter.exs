[
  inputs: ["mix.exs", ".formatter.exs", "{lib,demo}/**/*.{ex,exs}"],
  subdirectories: ["test"],
  line_length: 100
]
