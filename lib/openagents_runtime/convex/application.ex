defmodule OpenAgentsRuntime.Convex.Application do
  @moduledoc false
  # Runs what needs no sidecar: the queue for sinks that are called in this VM. The runtime starts
  # sidecars, under a supervisor of its own (OpenAgentsRuntime.Convex.Sidecar).
  use Application

  alias OpenAgentsRuntime.Convex.{OwnModules, Sidecars, SinkCheckpoints, SinkQueue}

  @impl true
  def start(_type, _args) do
    with :ok <- OwnModules.check() do
      read_configuration()
      SinkCheckpoints.open()

      Supervisor.start_link([SinkQueue],
        strategy: :one_for_one,
        name: OpenAgentsRuntime.Convex.Supervisor
      )
    end
  end

  # A release sets an application's configuration when it loads that application; where the user's application has
  # another name, :openagents_runtime is never loaded.
  defp read_configuration do
    if :code.where_is_file(~c"openagents_runtime.app") == :non_existing do
      words = [vsn: ~c"1", modules: [], registered: [], applications: [:kernel, :stdlib]]
      :application.load({:application, :openagents_runtime, words})
    end
  end

  @impl true
  def stop(_state), do: Sidecars.forget()
end
