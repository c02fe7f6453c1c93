# The application that this library is made for, in small: OpenAgents' runtime.  test/guides/runtime/run builds it as a release.
defmodule OpenAgentsRuntime.MixProject do
  use Mix.Project

  @library System.fetch_env!("LIBRARY")

  def project do
    [
      app: :openagents_runtime,
      version: "0.1.0",
      elixir: "~> 1.14",
      elixirc_options: [warnings_as_errors: true],
      # Debian's, found when it starts.
      xref: [exclude: [:pgsql]],
      deps: [{:convex_sidecar, path: @library}],
      releases: [openagents_runtime: [include_executables_for: [:unix], include_erts: false]]
    ]
  end

  def application, do: [mod: {OpenAgentsRuntime.Application, []}, extra_applications: [:logger, :runtime_tools]]
end
