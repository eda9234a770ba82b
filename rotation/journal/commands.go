package journal

import (
	"context"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// Commands are the last commands of the zones, and the halt of all of them.
type Commands struct {
	commands kind[rotation.Command]
	halt     kind[Halt]
}

// Halt is why nothing may be issued in any zone.
type Halt struct {
	Why string `json:"why"` // "" while everything may be issued
}

// NewCommands is the commands in docs.
func NewCommands(docs ca.Documents) *Commands {
	return &Commands{kind[rotation.Command]{docs, "zone_command"}, kind[Halt]{docs, "halt"}}
}

// Command is the last command of a zone; its epoch is 0 where there was none.
func (c *Commands) Command(ctx context.Context, zone rotation.Zone) (rotation.Command, error) {
	e, err := c.commands.get(ctx, string(zone))
	return e.value, err
}

// Give stores a command and tells whether it is a new one. The same again changes
// nothing. One of a lower epoch, or of the same epoch with another signer, is an
// *ca.Error with ReasonStale: it was overtaken.
func (c *Commands) Give(ctx context.Context, command rotation.Command) (bool, error) {
	isNew := false
	_, err := c.commands.change(ctx, string(command.Zone), func(was rotation.Command, exists bool) (rotation.Command, error) {
		isNew = !exists || was != command
		if exists && isNew && command.Epoch <= was.Epoch {
			return was, ca.Refuse(ca.ReasonStale, "command %d to zone %s was overtaken by command %d", command.Epoch, command.Zone, was.Epoch)
		}
		return command, nil
	})
	return isNew, err
}

// Epoch is the highest epoch of any zone's command.
func (c *Commands) Epoch(ctx context.Context) (uint64, error) {
	all, err := c.commands.after(ctx, "")
	if err != nil {
		return 0, err
	}
	var highest uint64
	for _, e := range all {
		highest = max(highest, e.value.Epoch)
	}
	return highest, nil
}

const haltName = "halt"

// Halted is why nothing may be issued, "" while it may.
func (c *Commands) Halted(ctx context.Context) (string, error) {
	e, err := c.halt.get(ctx, haltName)
	return e.value.Why, err
}

// Halt stores why nothing may be issued; "" lets it go on. It returns what was in
// force before.
func (c *Commands) Halt(ctx context.Context, why string) (string, error) {
	before := ""
	_, err := c.halt.change(ctx, haltName, func(was Halt, _ bool) (Halt, error) {
		before = was.Why
		return Halt{Why: why}, nil
	})
	return before, err
}
