%% convex_sidecar_epmd - finds sidecars without an epmd: `erl -epmd_module convex_sidecar_epmd'.
%%
%% The happy path: the port of a sidecar's node is registered here (by convex_sidecar_port, which reads it from its
%% program, or by the option `port' of an external instance), and the VM looks it up here when it connects.  A managed
%% sidecar then does not register with epmd.  All other names are resolved as erl_epmd does: by epmd, or at the one port
%% of -erl_epmd_port.
%%
%% What can go wrong: no epmd runs.  This VM gets its name all the same; whoever connects to it has to know its port
%% (-erl_epmd_port, ERL_DIST_PORT, inet_dist_listen_min).
%%
%% A resolver of your own calls address_please/3 here first, and goes on unless the answer is {ok, _, _, _}; then set
%% [node] epmd = off in the sidecar's configuration.
-module(convex_sidecar_epmd).

-export([put/2, is_used/0]).
%% Called by net_kernel and the distribution protocols.
-export([start_link/0, register_node/2, register_node/3, port_please/2, port_please/3, address_please/3]).
-export([listen_port_please/2, names/0, names/1]).

%% The version of the handshake since OTP 23.
-define(VERSION, 6).

%% @doc Register the address at which the node listens.
-spec put(node(), inet:port_number()) -> ok.
put(Node, Port) -> persistent_term:put({?MODULE, atom_to_list(Node)}, Port).

%% @doc Whether this VM uses this module as its epmd_module.
-spec is_used() -> boolean().
is_used() -> init:get_argument(epmd_module) =:= {ok, [[atom_to_list(?MODULE)]]}.

known(Name, Host) when is_atom(Name) -> known(atom_to_list(Name), Host);
known(Name, Host) when is_list(Host) -> persistent_term:get({?MODULE, Name ++ "@" ++ Host}, none);
known(_Name, _Address) -> none.

%% @private
start_link() -> erl_epmd:start_link().

%% @private
register_node(Name, Port) -> register_node(Name, Port, inet).

%% @private
register_node(Name, Port, Family) ->
    case erl_epmd:register_node(Name, Port, Family) of
        {error, Reason} when Reason =/= already_registered, Reason =/= duplicate_name ->
            {ok, 3 + rand:uniform(16#FFFFFFFF - 3)};
        Answer ->
            Answer
    end.

%% @private
port_please(Name, Host) -> port_please(Name, Host, infinity).

%% @private
port_please(Name, Host, Timeout) ->
    case known(Name, Host) of
        none -> erl_epmd:port_please(Name, Host, Timeout);
        Port -> {port, Port, ?VERSION}
    end.

%% @private
address_please(Name, Host, Family) ->
    case {known(Name, Host), inet:getaddr(Host, Family)} of
        {none, Found} -> Found;
        {Port, {ok, Address}} -> {ok, Address, Port, ?VERSION};
        {_Port, {error, _} = Error} -> Error
    end.

%% @private
listen_port_please(Name, Host) -> erl_epmd:listen_port_please(Name, Host).

%% @private
names() -> erl_epmd:names().

%% @private
names(Host) -> erl_epmd:names(Host).
