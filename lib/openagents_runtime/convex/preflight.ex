defmodule OpenAgentsRuntime.Convex.Preflight do
  @moduledoc """
  Asks Convex what the sidecar asks when it starts: whether Convex answers and accepts the key, which functions are
  deployed, whether a document of each kind would be accepted, and how far the clocks differ. It starts nothing
  and opens no store, so it may run beside a running sidecar.
  """

  alias OpenAgentsRuntime.Convex.Sidecar

  @typedoc "`:ok`; `:bad`: something is refused; `:unknown`: Convex does not answer; `:invalid`: the configuration is invalid"
  @type outcome :: :ok | :bad | :unknown | :invalid

  @doc "The outcome, and a line for each check; `opts` as for `Sidecar.start_link/1`."
  @spec run(keyword()) :: {outcome(), String.t()}
  def run(opts \\ []) do
    case opts
         |> Sidecar.options()
         |> Map.drop([:testing, :catch_up])
         |> :convex_sidecar_config.options() do
      {:ok, %{mode: :external}} ->
        {:invalid,
         "the sidecar runs elsewhere (mode: :external): there, convex_sidecar preflight\n"}

      {:ok, %{program: program, config: config}} ->
        ask(program, config)

      {:error, {:bad_option, _, why}} ->
        {:invalid, why <> "\n"}
    end
  end

  defp ask(program, config) do
    # A managed start generates these values; preflight opens no node.
    own = [{:node, :name, :"preflight@127.0.0.1"}, {:node, :cookie, :none}]
    ini = :convex_sidecar_config.ini(config.(), own)

    options =
      [args: ["preflight", "--managed"]] ++ [:exit_status, :stderr_to_stdout, :binary, :hide]

    port = Port.open({:spawn_executable, program}, options)
    send(port, {self(), {:command, ini}})
    collect(port, "")
  catch
    {:bad_option, _, why} -> {:invalid, why <> "\n"}
  end

  defp collect(port, said) do
    receive do
      {^port, {:data, more}} -> collect(port, said <> more)
      {^port, {:exit_status, 0}} -> {:ok, said}
      {^port, {:exit_status, 1}} -> {:bad, said}
      {^port, {:exit_status, 4}} -> {:unknown, said}
      {^port, {:exit_status, _}} -> {:invalid, said}
    end
  end
end
