defmodule OpenAgentsRuntime.Convex.RunningNode do
  @moduledoc false
  # Finds the application's running VM for an operator's command: a managed sidecar has one owner, so the command runs
  # there. Its name is found through epmd: a VM `app` has a sidecar `app_convex`.

  alias OpenAgentsRuntime.Convex.Sidecar

  @switches [node: :string, cookie: :string, here: :boolean]

  @doc false
  def switches, do: @switches

  @doc "`nil` if it is this VM, else its node name, connected. `app`: the application that has to run there."
  @spec find(keyword(), atom() | nil) :: {:ok, node() | nil} | {:error, String.t()}
  def find(opts, app \\ nil) do
    cond do
      opts[:here] -> {:ok, nil}
      name = opts[:node] -> named(name, opts)
      here?() -> {:ok, nil}
      true -> beside(candidates(), opts, app)
    end
  end

  @doc "Call a function there, or here."
  @spec call(node() | nil, module(), atom(), [term()]) :: term()
  def call(nil, module, function, args), do: apply(module, function, args)
  def call(node, module, function, args), do: :erpc.call(node, module, function, args, :infinity)

  # Tests and consoles: the instance was started in this VM.
  defp here? do
    case Sidecar.server([]) do
      name when is_atom(name) -> :convex_sidecar_instance.lookup(name) != :error
      _elsewhere -> true
    end
  end

  # Names registered with this machine's epmd that have a matching sidecar name.
  defp candidates do
    case :erl_epmd.names({127, 0, 0, 1}) do
      {:ok, pairs} ->
        names = for {name, _port} <- pairs, do: List.to_string(name)
        suffix = "_" <> own_part(Sidecar.server([]))
        for name <- names, (name <> suffix) in names, do: name

      {:error, _none} ->
        []
    end
  end

  defp own_part(:convex_sidecar), do: "convex"
  defp own_part(name), do: to_string(name)

  defp beside([], _opts, _app), do: {:ok, nil}

  defp beside(names, opts, app) do
    found = for name <- names, node = reached(name, opts), runs?(node, app), do: node

    case found do
      [node] ->
        {:ok, node}

      [] ->
        {:error, refused(names)}

      several ->
        {:error,
         "several VMs with a sidecar run here: say --node #{Enum.join(several, ", or --node ")}"}
    end
  end

  defp refused(names) do
    "a VM with a sidecar runs on this machine (#{Enum.join(names, ", ")}), and this one cannot join it: give its name and " <>
      "cookie (--node #{hd(names)}@127.0.0.1 --cookie COOKIE), or --here for a VM of your own beside it, or, of a release, " <>
      "say it there: bin/APP rpc \"OpenAgentsRuntime.Convex.Reprojection.rebuild_all()\""
  end

  defp named(name, opts) do
    node = String.to_atom(name)

    with :ok <- distributed(not String.contains?(name, [".", ":"]), opts),
         true <- Node.connect(node) do
      {:ok, node}
    else
      {:error, why} ->
        {:error, "--node #{name}: this VM cannot be a node: #{inspect(why)}"}

      _ ->
        {:error,
         "--node #{name}: no connection; is that its name (Node.self()), and is --cookie its cookie?"}
    end
  end

  # epmd knows only the part before the @.
  defp reached(name, opts) do
    Enum.find_value([false, true], fn short? ->
      with :ok <- distributed(short?, opts) do
        Enum.find_value(hosts(:net_kernel.longnames()), fn host ->
          node = :"#{name}@#{host}"
          if Node.connect(node) == true, do: node
        end)
      else
        _ -> nil
      end
    end)
  end

  defp hosts(false) do
    {:ok, host} = :inet.gethostname()
    [host, "localhost"]
  end

  defp hosts(_long) do
    {:ok, interfaces} = :inet.getifaddrs()

    addresses =
      for {_name, options} <- interfaces,
          {:addr, {_, _, _, _} = a} <- options,
          do: List.to_string(:inet.ntoa(a))

    {:ok, host} = :inet.gethostname()

    full =
      with {:ok, {:hostent, full, _, _, _, _}} <- :inet.gethostbyname(host),
           do: [List.to_string(full)],
           else: (_ -> [])

    Enum.uniq(["127.0.0.1" | addresses ++ Enum.filter(full, &String.contains?(&1, "."))])
  end

  # A VM that was given a name keeps it.
  defp distributed(short?, opts) do
    mine = __MODULE__

    cond do
      Node.alive?() and :persistent_term.get(mine, :no) in [:no, short?] ->
        cookie(opts)

      Node.alive?() ->
        :net_kernel.stop()
        distributed(short?, opts)

      true ->
        {host, domain} = if short?, do: {"", :shortnames}, else: {"@127.0.0.1", :longnames}
        name = :"convex_task_#{System.pid()}#{host}"

        with {:ok, _pid} <- :net_kernel.start(name, %{name_domain: domain, hidden: true}) do
          :persistent_term.put(mine, short?)
          cookie(opts)
        end
    end
  end

  defp cookie(opts) do
    if cookie = opts[:cookie] || System.get_env("RELEASE_COOKIE"),
      do: Node.set_cookie(String.to_atom(cookie))

    :ok
  end

  defp runs?(node, app) do
    name = Sidecar.server([])
    started? = :erpc.call(node, :convex_sidecar_instance, :lookup, [name], 5000) != :error
    apps = :erpc.call(node, :application, :which_applications, [], 5000)
    started? and (app in [nil, :convex_sidecar] or List.keymember?(apps, app, 0))
  catch
    _kind, _reason -> false
  end
end
