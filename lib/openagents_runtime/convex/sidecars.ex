defmodule OpenAgentsRuntime.Convex.Sidecars do
  @moduledoc """
  Several sidecars for one projector: decides which of them an entity goes to.

      config :openagents_runtime, convex_sidecars: [:sidecar_a, :sidecar_b, :sidecar_c]

  Each name is an instance in this VM (managed, or external for a sidecar that other VMs use
  too), or `{registered_name, node}` of a sidecar that this VM is connected to. An entity goes
  to the member with the highest hash of (member, document id): rendezvous hashing. So it
  stays with one sidecar, every VM with the same members chooses the same one, and adding or
  removing a member moves only the entities that it gains or loses.

  The members do not depend on which of them are up: a sidecar that restarts keeps its entities,
  which wait for it as with a single one (each instance has its dirty set). `put/2` changes the
  members when a machine is added or lost for good: what moves is projected again through
  its new sidecar, from the event log, so nothing depends on the old one's disk. The new
  sidecar has no fold of these entities; it answers `gap`, and is sent their whole history.
  The configuration is not changed, and applies again when the application restarts.

  Two sidecars may hold versions of one document for a moment. The guard in Convex orders
  them by (seq, projected_at), so the newer event wins whoever writes last. At the same seq
  (a row that changed without an event) the later `projected_at` wins. So keep clock skew between
  machines that share documents below the interval between row updates (NTP; see docs/CLUSTER.md).
  """

  alias OpenAgentsRuntime.Convex.{EventLog, Kinds, Projector, Sidecar, Summary}

  @typedoc "A member, as `convex_sidecars` names it."
  @type member :: :convex_sidecar.server()

  @doc """
  The sidecars of these options: option `:sidecar` (one, or a list of members), else the
  configured `convex_sidecars`, else the one sidecar of `OpenAgentsRuntime.Convex.Sidecar`.
  """
  @spec members(keyword()) :: [member, ...]
  def members(opts \\ []) do
    case Keyword.get(opts, :sidecar) || configured() do
      nil -> [Sidecar.server([])]
      [_ | _] = members -> members
      one -> [one]
    end
  end

  @doc "The member that a document goes to."
  @spec owner([member, ...], String.t()) :: member
  def owner([one], _document_id), do: one

  def owner(members, document_id),
    do: Enum.max_by(members, &{:erlang.md5([inspect(place(&1)), 0, document_id]), &1})

  @doc "The sidecar of these options that a document goes to."
  @spec owner_of(String.t(), keyword()) :: member
  def owner_of(document_id, opts), do: opts |> members() |> owner(document_id)

  @doc "The members set by `put/2` or the configuration; `nil` if there is one sidecar."
  @spec configured() :: [member, ...] | nil
  def configured do
    configuration = Application.get_env(:openagents_runtime, :convex_sidecars)

    case :persistent_term.get(__MODULE__, configuration) do
      [_ | _] = members -> members
      none when none in [nil, []] -> nil
    end
  end

  # The members set by `put/2`, or nil: a cheap way to see whether it was called meanwhile.
  @doc false
  @spec changed() :: [member, ...] | nil
  def changed, do: :persistent_term.get(__MODULE__, nil)

  # Called when the application has stopped.
  @doc false
  @spec forget() :: :ok
  def forget do
    _ = :persistent_term.erase(__MODULE__)
    :ok
  end

  @doc """
  Change the members in this VM, and project what moves through its new sidecar.

  Instances of new members must have been started. Returns once everything that moves is marked;
  the work itself is asynchronous (`:convex_sidecar.settle/2` waits for it). Call it in every
  VM that projects; with `reproject: false` in all but one, as one sweep is enough. `:kinds`
  and `:event_log` as elsewhere. A member that was removed may then be stopped.
  """
  @spec put([member, ...], keyword()) :: {:ok, %{moved: non_neg_integer()}}
  def put([_ | _] = members, opts \\ []) do
    before = members([])
    # First the members, then the sweep: see mark/4 in Projector.
    :persistent_term.put(__MODULE__, members)

    if Keyword.get(opts, :reproject, true),
      do:
        {:ok,
         %{
           moved:
             opts
             |> Keyword.get_lazy(:kinds, &Kinds.all/0)
             |> Enum.map(&move(&1, before, members, opts))
             |> Enum.sum()
         }},
      else: {:ok, %{moved: 0}}
  end

  defp move(kind, before, members, opts) do
    log = EventLog.module!(opts)

    log
    |> EventLog.stream_ids(kind)
    |> Stream.filter(fn id ->
      document_id = Summary.document_id(kind, id)
      owner(before, document_id) != owner(members, document_id)
    end)
    |> Enum.reduce(0, fn id, moved ->
      :ok = Projector.project_async(kind, id, event_log: log)
      moved + 1
    end)
  end

  # A member's name for all VMs, since an instance's name is local to this VM.
  defp place(name) when is_atom(name) do
    case :convex_sidecar_instance.lookup(name) do
      {:ok, %{dest: dest}} -> dest
      :error -> name
    end
  end

  defp place({_registered_name, _node} = dest), do: dest
end
