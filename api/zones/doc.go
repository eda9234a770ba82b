// Package zones carries what zones and their primary say to each other: the server
// of kedge.v1.Zones, and the client by which a replica joins, follows its primary,
// reports to it and has its intermediates signed.
//
// A replica is known by its key, which it proves in the TLS handshake; no message
// says who sends it. The server lets any key ask for the chain of bundles and join
// with a token, and refuses everything else to a key that is not registered, by the
// reason. A stream ends when its replica is removed.
//
// The client verifies the primary by the bundle that the replica holds, and by the
// identity in its certificate. One call may go to a server that was not verified:
// the one for the chain of bundles, which proves itself. So a replica that slept until
// every anchor it knew was gone finds back, and a join needs no more than its token.
// The client decides nothing: it hands on what came, and whoever follows replays it.
//
// cmd/ca serves it where it is the primary, and uses the client in a zone.
package zones
