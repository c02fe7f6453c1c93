defmodule OpenAgentsRuntime.Convex do
  @moduledoc """
  Convex documents of the runtime's event log. Where to begin: `OpenAgentsRuntime.Convex.Projector` (projecting),
  `OpenAgentsRuntime.Convex.Sidecar` (the child of your supervisor), `OpenAgentsRuntime.Convex.EventLog` (what is
  read), `OpenAgentsRuntime.Convex.Testing`.
  """

  alias OpenAgentsRuntime.Convex.{EventLog, Sidecar, Sidecars, Testing}

  @doc """
  Whether projections can be delivered: `:ok`, or the first obstacle and a sentence that says what to do. For a health
  check of the application: it sends no request, so it costs almost nothing and always returns at once.

    * `:no_event_log` - `convex_event_log` is not configured
    * `:not_started`, `:not_connected`, `:no_distribution` and others - see `Sidecar.health/1`; with several sidecars
      the first obstacle of any

  In the testing modes it is `:ok`. For the progress of delivery to Convex see `Sidecar.status/1` and /readyz.
  """
  @spec health() :: :ok | {:error, {atom(), String.t()}}
  def health do
    cond do
      Testing.mode() != :disabled -> :ok
      EventLog.module([]) == nil -> {:error, {:no_event_log, EventLog.none()}}
      true -> Enum.find_value(Sidecars.members(), :ok, &ill/1)
    end
  end

  defp ill(member) when is_atom(member) do
    with :ok <- Sidecar.health(sidecar: member), do: nil
  end

  # Not an instance of this VM, which knows nothing about it.
  defp ill(_elsewhere), do: nil
end
