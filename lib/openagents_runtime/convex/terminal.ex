defmodule OpenAgentsRuntime.Convex.Terminal do
  @moduledoc false

  # Whether a progress bar written by this process appears on a terminal. `:io.columns/0` cannot
  # tell: with -noshell, as mix runs, it always fails (OTP 25).
  @doc false
  @spec bar? :: boolean
  def bar?, do: IO.ANSI.enabled?() and Process.group_leader() == Process.whereis(:user)
end
