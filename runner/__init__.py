"""From cells to rows: options, plan, dispatch, progress."""
