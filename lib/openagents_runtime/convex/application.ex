defmodule OpenAgentsRuntime.Convex.Application do
  @moduledoc false
  # What runs without a sidecar: the queue of sinks that are called in this VM. Sidecars are
  # started by the runtime, under a supervisor of its own (OpenAgentsRuntime.Convex.Sidecar).
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

  # A release hands the configuration of an application out when that is loaded, and an application of another name has
  # no :openagents_runtime to load.
  defp read_configuration do
    if :code.where_is_file(~c"openagents_runtime.app") == :non_existing do
      words = [vsn: ~c"1", modules: [], registered: [], applications: [:kernel, :stdlib]]
      :application.load({:application, :openagents_runtime, words})
    end
  end

  @impl true
  def stop(_state), do: Sidecars.forget()
end
