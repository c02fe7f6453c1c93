defmodule Mix.Tasks.Runtime.Convex.Preflight do
  @shortdoc "Asks Convex whether the sidecar would deliver, before it is started"
  @moduledoc """
  Asks Convex whether the sidecar, configured as this application configures it, would deliver.

      mix runtime.convex.preflight

  It prints a line each for the address, the key, the deployed functions, each kind, and the clock. It starts nothing
  and opens no store. The exit status is 1 if something is refused or the configuration is invalid, and 4 if Convex
  does not answer. In a release: `bin/my_app eval 'OpenAgentsRuntime.Convex.Preflight.run() |> IO.inspect()'`.
  """
  use Mix.Task

  alias OpenAgentsRuntime.Convex.Preflight

  @impl Mix.Task
  def run(args) do
    if args != [], do: Mix.raise("not understood: #{inspect(args)}")
    Mix.Task.run("app.config")
    {outcome, said} = Preflight.run()
    IO.write(said)

    case outcome do
      :ok -> :ok
      :unknown -> exit({:shutdown, 4})
      _ -> exit({:shutdown, 1})
    end
  end
end
