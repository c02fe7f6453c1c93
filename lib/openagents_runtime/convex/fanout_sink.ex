defmodule OpenAgentsRuntime.Convex.FanoutSink do
  @moduledoc """
  Calls several sinks in turn and stops at the first error.

  The sinks are the option `:sinks` (in a call's `:sink_opts`) or the configuration
  `convex_fanout_sinks`; each is a module, or `{module, opts}` with options of its own.

      config :openagents_runtime,
        convex_projection_sink: OpenAgentsRuntime.Convex.FanoutSink,
        convex_fanout_sinks: [OpenAgentsRuntime.Convex.HttpSink, MyApp.AuditSink]
  """
  use OpenAgentsRuntime.Convex.Sink

  alias OpenAgentsRuntime.Convex.Sink

  @impl true
  def upsert(kind, document_id, summary, opts) do
    {sinks, common} =
      Keyword.pop_lazy(opts, :sinks, fn ->
        Application.get_env(:openagents_runtime, :convex_fanout_sinks, [])
      end)

    Enum.reduce_while(sinks, :ok, fn sink, :ok ->
      {module, own} = if is_atom(sink), do: {sink, []}, else: sink

      case Sink.write(module, kind, document_id, summary, Keyword.merge(common, own)) do
        :ok -> {:cont, :ok}
        {:error, reason} -> {:halt, {:error, reason}}
      end
    end)
  end
end
