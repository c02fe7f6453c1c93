defmodule ConvexSidecar.MixProject do
  use Mix.Project

  # Version and applications are read from src/convex_sidecar.app.src, so that nothing
  # is said twice; Erlang users build with rebar3 and never come here.
  {:ok, [{:application, app, properties}]} =
    :file.consult(Path.join([__DIR__, "src", "convex_sidecar.app.src"]))

  @app app
  @properties properties

  def project do
    [
      app: @app,
      version: to_string(@properties[:vsn]),
      description: to_string(@properties[:description]),
      elixir: "~> 1.14",
      compilers: [:convex_sidecar_c] ++ Mix.compilers(),
      elixirc_paths: elixirc_paths(Mix.env()),
      elixirc_options: [warnings_as_errors: own_build?(Mix.env())],
      erlc_options: [:debug_info] ++ if(own_build?(Mix.env()), do: [:warnings_as_errors], else: []),
      test_paths: ["test"],
      deps: []
    ] ++ unknown(Mix.env(), Version.match?(System.version(), "< 1.19.0"))
  end

  def application do
    [
      mod: {OpenAgentsRuntime.Convex.Application, []},
      extra_applications:
        [:logger | @properties[:applications] -- [:kernel, :stdlib]] ++ only_for(Mix.env())
    ]
  end

  # The tests speak HTTP (to the Convex stand-in) with OTP's own client, which wants ssl by it; Elixir from
  # 1.15 on hides applications that are not named.
  defp only_for(:test), do: [:inets, :ssl]
  defp only_for(_env), do: []

  # The tests' PostgreSQL driver, of Debian, found when it is wanted; from 1.19 on the modules that use it say so.
  defp unknown(:test, true), do: [xref: [exclude: [:pgsql]]]
  defp unknown(_env, _older), do: []

  # A dependency is compiled in :prod, with whatever warnings a newer Elixir or OTP has for it.
  defp own_build?(env), do: env == :test

  defp elixirc_paths(:test), do: ["lib", "test/support", "test/torture"]
  defp elixirc_paths(_env), do: ["lib"]
end

defmodule Mix.Tasks.Compile.ConvexSidecarC do
  @moduledoc """
  Builds the C program into `priv/convex_sidecar` with the project's Makefile.

  With `SIDECAR_PREBUILT=1` the program is taken as it is (packagers, cross builds).
  """
  use Mix.Task.Compiler

  @impl Mix.Task.Compiler
  def run(_args) do
    if System.get_env("SIDECAR_PREBUILT") in [nil, "", "0"], do: make(), else: {:noop, []}
  end

  defp make do
    make = System.find_executable("gmake") || System.find_executable("make") || "make"

    case System.cmd(make, ["-s", "c"], cd: __DIR__, stderr_to_stdout: true, into: IO.stream()) do
      {_output, 0} -> {:ok, []}
      {_output, status} -> Mix.raise("make c failed (status #{status}); see above")
    end
  end
end
